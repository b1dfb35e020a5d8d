"""Who may import whom: the levels, and what stays out of where."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cnnviz

ROOT = Path(cnnviz.__file__).parent

# From the lowest to the highest; a module imports from lower levels only, or from those in
# front of it on its own line.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors", "choices"),
    (
        "selection", "shared", "files", "config", "runs", "runs.ranks", "networks",
        "networks.catalog", "networks.classes", "checks", "symptoms", "reference", "peaks",
        "layout", "photos", "photos.images", "photos.preprocess", "photos.overrides",
        "photos.clips", "receptive_field", "receptive_field.taps", "receptive_field.span",
        "receptive_field.axis", "receptive_field.algebra", "receptive_field.field",
        "receptive_field.views",
        "receptive_field.meeting",
    ),
    (
        "render", "render.palette", "render.scale", "render.text", "render.canvas", "render.png",
        "render.grid", "render.block", "render.plate", "render.bars", "render.photo",
        "render.boxes", "render.tiles", "render.strips",
        "receptive_field.operands", "receptive_field.windows", "receptive_field.rearranging",
        "receptive_field.mixing", "receptive_field.rules", "receptive_field.work",
        "receptive_field.shapes", "receptive_field.operators", "receptive_field.memory",
        "receptive_field.dispatch", "receptive_field.outputs",
        "demo", "demo.plane", "demo.textures", "demo.figures", "demo.scene", "demo.patterns",
        "demo.network", "demo.train",
    ),
    (
        "networks.feeding", "networks.wrappings", "networks.archives", "networks.checkpoints",
        "networks.factories", "networks.sources", "networks.building", "networks.models",
        "networks.compiled", "networks.precision", "runs.lanes", "kernels", "saturation",
        "records", "tracer", "hooks", "statistics", "diagnosis", "maps", "gradients", "filters",
    ),
    (
        "receptive_field.probe", "receptive_field.effective", "pictures", "series",
        "filter_pictures", "top_pictures", "runs.tally", "runs.batch", "runs.journal", "runs.team",
        "runs.folder", "rf", "field_pictures", "ascent", "ascent.parameterize",
        "ascent.transforms", "ascent.objectives", "ascent.units", "ascent.score", "ascent.loop",
        "ascent.views", "ascent.run", "ascent.pictures", "ascent.api",
    ),
    (
        "report", "report.document", "report.preparation", "report.table", "report.junit",
        "report.layers", "report.maps", "report.filters", "report.maximize", "report.rf",
    ),
    (
        "cli.exit_codes", "cli.complaints", "cli.output", "cli.options", "cli.layers", "cli.maps",
        "cli.filters", "cli.maximize", "cli.rf", "cli",
    ),
    ("__main__",),
)  # fmt: skip
PLACE = {
    module: (level, position)
    for level, modules in enumerate(LEVELS)
    for position, module in enumerate(modules)
}

# Packages that only these may import.
ONLY = {
    "typer": {
        "cli", "cli.complaints", "cli.filters", "cli.layers", "cli.maps", "cli.maximize",
        "cli.options", "cli.rf",
    },
    "rich": {
        "cli.output", "report.table", "report.filters", "report.layers", "report.maps",
        "report.maximize", "report.rf", "demo.train",
    },
    "yaml": {"config"},
    "matplotlib": {"render.boxes", "render.palette", "render.text"},
    "safetensors": {"networks.checkpoints", "demo.train"},
    "PIL": {
        "photos.images", "photos.preprocess", "photos.clips", "networks.factories",
        "networks.sources", "pictures", "series", "filter_pictures", "field_pictures",
        "top_pictures", "render.bars", "render.boxes", "render.canvas", "render.grid",
        "render.photo", "render.plate", "render.png", "render.strips", "render.text",
        "render.tiles", "demo.train", "ascent.api", "ascent.pictures", "ascent.run", "ascent.views",
    },
    "torchvision": {"networks.sources"},
}  # fmt: skip
LIGHT = (*LEVELS[0], *LEVELS[1], *(m for m in LEVELS[2] if m.startswith("render")))
# Where a function imports: the command line, so that help is quick, and torchvision and the
# bundled network, which most runs do without.
LAZY = {"networks.sources": {"torchvision", "cnnviz.demo"}}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in ROOT.rglob("*.py")}


def imports(module: str, *, lazy: bool) -> Iterator[str]:
    """Yield the dotted names that a module imports: at its top, or inside its functions."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    yield from _walk(tree, lazy=lazy, inside=False)


def _walk(node: ast.AST, *, lazy: bool, inside: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(child, (ast.Import, ast.ImportFrom)) and inside is lazy:
            yield from _names(child)
        function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from _walk(child, lazy=lazy, inside=inside or function)


def _names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.level == 0, "imports are absolute"
    for alias in node.names:
        full = f"{node.module}.{alias.name}"
        yield full if full.removeprefix("cnnviz.") in MODULES else str(node.module)


def own(names: Iterator[str]) -> Iterator[str]:
    """Yield the modules of the package among imported names; the package itself is no level."""
    yield from (n.removeprefix("cnnviz.") for n in names if n.startswith("cnnviz."))


def test_every_module_has_a_level() -> None:
    assert set(PLACE) == set(MODULES) - {""}


@pytest.mark.parametrize("module", sorted(PLACE))
def test_imports_go_downward(module: str) -> None:
    imported = {*own(imports(module, lazy=False)), *own(imports(module, lazy=True))}
    wrong = [name for name in imported if PLACE[name] >= PLACE[module]]
    assert not wrong


@pytest.mark.parametrize("package", ONLY)
def test_a_package_is_imported_only_in_its_place(package: str) -> None:
    users = {
        module
        for module in MODULES
        for name in (*imports(module, lazy=False), *imports(module, lazy=True))
        if name.partition(".")[0] == package
    }
    assert users <= ONLY[package]


@pytest.mark.parametrize("module", sorted(set(PLACE) - {"cli", "__main__"}))
def test_functions_import_nothing_but_what_must_wait(module: str) -> None:
    allowed = LAZY.get(module, set())
    hidden = set(imports(module, lazy=True))
    if not module.startswith("cli."):
        assert {n for n in hidden if not any(n.startswith(start) for start in allowed)} == set()


def test_the_public_names_are_lazy_and_lead_home() -> None:
    assert set(imports("", lazy=False)) <= {"importlib", "typing"}
    for name in cnnviz.__all__:
        assert getattr(cnnviz, name).__name__ == name
    assert set(cnnviz.__all__) < set(dir(cnnviz))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cnnviz.nothing  # noqa: B018


def test_no_module_has_the_name_of_a_public_function() -> None:
    assert not set(cnnviz.__all__) & set(MODULES)


def test_light_modules_bring_neither_torch_nor_rich_nor_typer() -> None:
    program = "; ".join(f"import cnnviz.{module}" for module in LIGHT)
    program += "; import sys; sys.exit(bool({'torch', 'rich', 'typer'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_private_names_of_torch_are_used_where_operators_are_watched() -> None:
    for module, path in MODULES.items():
        if module.startswith("receptive_field."):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                hidden = [n for n in _names(node) if n.startswith("torch") and "._" in n]
                assert not hidden, f"{module} imports {hidden}"
