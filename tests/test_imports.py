"""What imports what: the library without its training framework, and every module only from the floors below."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "structkd"
#: From the top down; a module imports from its own floor and from those below it.
FLOORS = (
    "engine", "visualization", "adapters", "distillers", "losses", "models", "datasets", "evaluation", "relations",
    "structure", "ops", "backends", "npy", "files", "errors",
)  # fmt: skip
#: Packages that the library can do without, so it imports them where they are used.
OPTIONAL = (
    "mmengine", "mmdet3d", "open3d", "sklearn", "matplotlib", "pandas", "ogb", "onnx", "onnxruntime", "tensorboard",
    "torchvision", "timm", "PIL", "spconv", "torch_scatter",
)  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_importing_the_library_brings_none_of_them():
    ours = [name for name in OPTIONAL if name != "pandas"]  # which PyG imports where it is there
    code = (
        "import sys, structkd.distillers, structkd.losses, structkd.ops, structkd.adapters, structkd.models\n"
        "from structkd.distillers import FFG2M\n"
        f"print(*(name for name in {ours} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def imports(node, at_import_time=True):
    """(imported name, whether importing the module imports it) of everything below `node`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, at_import_time) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: a relative import"
            yield from ((f"{child.module}.{alias.name}", at_import_time) for alias in child.names)
        lazy = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
        only_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        yield from imports(child, at_import_time and not lazy and not only_types)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_floors(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name, at_import_time in imports(ast.parse(path.read_text())):
        first, _, rest = name.partition(".")
        part = rest.split(".")[0]
        if first == "structkd" and own != "__init__" and part != "__version__":
            assert part in FLOORS, f"{name} is on no floor"
            assert FLOORS.index(part) >= FLOORS.index(own), f"{name} is above {own}"
        if own != "engine":
            assert first != "mmengine"
            assert not (first in OPTIONAL and at_import_time), f"{name} is imported with the module"


def test_every_part_of_the_package_is_on_a_floor():
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} == {*FLOORS, "__init__"}
