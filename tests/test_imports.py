"""Who may import whom, read from the source: libraries obey the arrows, command modules compose."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"schemas", "taggers", "train", "prep"}
ALLOWED = {
    "schemas": {"schemas"},
    "taggers": {"schemas", "taggers"},
    "train": {"schemas", "taggers", "train"},
    "prep": {"schemas", "taggers", "prep"},
}


def imported(file: Path) -> set[str]:
    """The dotted names that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(str(node.module))
    return names


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(OURS))
def test_a_package_imports_only_those_it_may(package: str) -> None:
    wrong = []
    for file in sources(package):
        composes = "cli" in file.relative_to(ROOT).parts or file.name == "__main__.py"
        for name in imported(file):
            top = name.split(".")[0]
            if top in OURS and top not in ALLOWED[package] and not composes:
                wrong.append(f"{file.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_schemas_know_no_torch() -> None:
    heavy = {"torch", "diffusers", "transformers", "onnxruntime"}
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sources("schemas")
        for name in imported(file)
        if name.split(".")[0] in heavy
    ]
    assert wrong == []


def test_only_one_file_knows_pybooru() -> None:
    knowing = [f for f in sources("prep") if any(n.startswith("pybooru") for n in imported(f))]
    assert [file.relative_to(ROOT).as_posix() for file in knowing] == ["prep/booru/client.py"]


def test_library_modules_do_not_import_command_modules() -> None:
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for package in sorted(OURS)
        for file in sources(package)
        if "cli" not in file.relative_to(ROOT).parts and file.name != "__main__.py"
        for name in imported(file)
        if name.split(".")[1:2] == ["cli"]
    ]
    assert wrong == []


@pytest.mark.parametrize("package", sorted(OURS))
def test_every_file_says_what_lives_in_it(package: str) -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in sources(package)
        if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert silent == []
