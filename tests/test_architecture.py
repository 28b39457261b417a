"""The rooms of the house: which may use which, and how large a piece may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Top to bottom: each room uses only those under it. Of `evaluation` each part likewise.
ROOMS = [
    "mfnet.cli",
    "mfnet.app",
    "mfnet.evaluation.report",
    "mfnet.evaluation.statistics.headline",
    "mfnet.evaluation.attribution",
    "mfnet.evaluation.statistics",
    "mfnet.evaluation.heat",
    "mfnet.evaluation.sheets",
    "mfnet.evaluation.benchmark",
    "mfnet.evaluation.methods",
    "mfnet.evaluation.facescape",
    "mfnet.evaluation.protocol",
    "mfnet.settings",
    "mfnet.reconstruct",
    "mfnet.pretraining",
    "mfnet.synthesis",
    "mfnet.fitting",
    "mfnet.method",
    "mfnet.data",
    "mfnet.flow",
    "mfnet.render",
    "mfnet.head",
    "mfnet.config",
    "mfnet.parallel",
    "mfnet.loss_terms",
    "mfnet.errors",
]
PACKAGES = ("mfnet", "mfnet.evaluation")
# They take plain arguments, and know no section of params.yaml.
WITHOUT_CONFIG = ("mfnet.head", "mfnet.render", "mfnet.flow", "mfnet.data")
SOURCES = sorted([*(ROOT / "mfnet").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Modules of this project that a file imports anywhere, but for types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            # Of a package what is taken is perhaps a module of it.
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            modules |= {name for name in inside if (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()} or {
                node.module
            }
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return {name for name in modules if name.split(".")[0] in ("mfnet", "pipeline")}


def room_of(module: str) -> str | None:
    """The most particular room that a module stands in."""
    rooms = [room for room in ROOMS if module == room or module.startswith(room + ".")]
    return max(rooms, key=len, default=None)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_arrows_point_down(path: Path) -> None:
    module = module_name(path)
    room = room_of(module)
    for imported in imports_of(path):
        if module.startswith("pipeline"):
            continue
        assert not imported.startswith("pipeline"), f"{module} imports {imported}"
        other = room_of(imported)
        if other == room or module.endswith("__init__") or module in PACKAGES:
            continue
        assert room is not None, f"{module} stands in no room; name it in ROOMS"
        assert other is not None or imported in PACKAGES, f"{imported} stands in no room; name it in ROOMS"
        if other is None:
            continue
        assert ROOMS.index(room) < ROOMS.index(other), f"{module} imports {imported}, which stands above it"
        assert not (room in WITHOUT_CONFIG and other == "mfnet.config"), f"{module} imports {imported}"


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    arrows = {module_name(path): imports_of(path) for path in SOURCES if path.name != "__init__.py"}
    finished: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way, module])
        if module not in finished:
            for imported in arrows.get(module, ()):
                walk(imported, (*way, module))
            finished.add(module)

    for module in arrows:
        walk(module, ())


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_pieces_are_small_enough_to_be_read_in_one_go(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= (60 if path.parent.name == "stages" else 400)
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 50, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


def test_the_library_knows_none_of_the_tools_around_it() -> None:
    for path in (ROOT / "mfnet").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & {"dvc", "mlflow", "prefect"}, path
