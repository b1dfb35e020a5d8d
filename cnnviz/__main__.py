"""`python -m cnnviz`."""

from cnnviz.cli import app

if __name__ == "__main__":
    app(prog_name="cnnviz")
