"""Model files as users write them on a bad day: each a Python program with a factory `build`."""

from random import Random

from on_disk import NETWORK

# Raised at import, in the factory, or in a forward pass.
_RAISED = (
    "RuntimeError()", "RuntimeError('')", "RuntimeError('a\\nb')", "KeyError('x')", "SystemExit",
    "SystemExit(7)", "SystemExit('bye')", "StopIteration", "RecursionError", "MemoryError",
    "OSError(28, 'disk')", "AssertionError", "ImportError('no module')", "UnicodeError('\\udce9')",
    "Odd()", "NotImplementedError", "FileNotFoundError(2, 'gone', 'x')", "BrokenPipeError",
    "Warning('w')", "IndexError(3)", "ExceptionGroup('g', [ValueError(1)])", "TimeoutError",
)  # fmt: skip
_ODD = """
class Odd(Exception):
    def __str__(self):
        raise ValueError("no words")
"""
# What a factory may give in place of a network.
_GIVEN = (
    "None", "3", "'text'", "Network", "lambda x: x", "nn.Sequential()",
    "nn.ModuleList([nn.ReLU()])",
    "nn.Identity()", "torch.zeros(3)", "(tiny(), 1)", "nn.Conv2d(1, 2, 3)", "nn.Conv2d(3, 2, 99)",
    "nn.Linear(3, 2)", "nn.Conv1d(3, 2, 3)", "nn.Conv3d(3, 2, 3)", "nn.Embedding(5, 5)",
    "nn.LSTM(3, 4)", "tiny().double()", "tiny().half()", "tiny().to('meta')", "nn.ParameterList()",
    "torch.jit.script(nn.ReLU())", "nn.Sequential(tiny(), tiny())", "nn.DataParallel(tiny())",
    "nn.Conv2d(3, 4, 3, groups=3)", "nn.LazyConv2d(4, 3)", "nn.Sequential(*[nn.ReLU()] * 50)",
    "nn.BatchNorm2d(3)", "nn.Softmax()", "nn.Flatten()", "nn.Upsample(scale_factor=0.01)",
)  # fmt: skip
# What a forward pass may do with its input x.
_FORWARD = (
    "return None", "return 'text'", "return ()", "return x, None", "return {'out': x}",
    "return [x]",
    "return x * float('nan')", "return x / 0", "return x[:0]", "return x[:, :, :0]",
    "return x[:, :0]",
    "return x.long()", "return x > 0", "return x.double()", "return x.half()", "return x + 1j",
    "return x.sum()", "return x.flatten()", "return x.to_sparse()", "print('talk'); return x",
    "x.zero_(); return x", "return x.item()", "return x if x.sum() > 0 else -x",
    "return x * 1e38 * 1e38",
    "return self.conv(x), self.conv(x)",
    "for _ in range(9): x = x + self.relu(x)\n        return x",
    "return x.expand(2, -1, -1, -1)", "return x.numpy()", "return self.gone(x)", "return self(x)",
    "return x.permute(0, 2, 3, 1)", "return x[None]", "return x.cumsum(1)",
    "import sys; sys.exit(5)",
    "return torch.fft.fft2(x)", "return self.conv(x.float())[..., ::2]",
    "return x.requires_grad_()",
    "return x.detach().clone().requires_grad_()", "self.seen = x; return x", "return torch.ones(3)",
    "return x.nonzero()", "return x.unbind()", "return x.tolist()", "return x.sort(1)",
    "return torch.empty(0)", "self.n = getattr(self, 'n', 0) + 1\n        return x[..., self.n:]",
)  # fmt: skip
_NAMES = (
    "a/b", "a b", "ä", "日本", "x" * 300, "#2", "a#1", "*", "[a]", "-", "all", "type:x", "\n",
    "con,v",
    "..", "\udce9", "\0", "overview", "%s", "[red]",
)  # fmt: skip


def model_file(random: Random) -> str:
    """Return a program; its network, if it has one, is what `build` gives."""
    kind = random.randrange(6)
    raised = random.choice(_RAISED)
    if kind == 0:
        return f"{NETWORK}{_ODD}\nraise {raised}\n"
    if kind == 1:
        return f"{NETWORK}{_ODD}\ndef build():\n    raise {raised}\n"
    if kind == 2:
        return f"{NETWORK}\ndef build():\n    return {random.choice(_GIVEN)}\n"
    if kind == 3:
        return f"{NETWORK}{_ODD}\n{_network(f'raise {raised}')}"
    if kind == 4:
        return f"{NETWORK}\n{_network(random.choice(_FORWARD), random.choice(_NAMES))}"
    return f"{NETWORK}\n{_network(random.choice(_FORWARD))}"


def _network(forward: str, name: str = "extra") -> str:
    return f"""
class Bad(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU()
        self.body = Body()
        self._modules[{name!r}] = nn.ReLU()

    def forward(self, x):
        return self._modules[{name!r}](self.body(self.conv(x)))


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        {forward}


def build():
    return Bad()
"""
