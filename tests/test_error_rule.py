"""Messages to users: one sentence that names the thing, its value and what is allowed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "nas"
# Not about an input: the user stopped the command.
NO_INPUT = {"Interrupted"}


def errors_of_users() -> set[str]:
    """The names of NasError and of every class in the package that derives from it."""
    names = {"NasError"}
    classes = [node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    for _ in range(3):  # levels of derivation
        for node in classes:
            if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & names:
                names.add(node.name)
    return names - NO_INPUT


def text_of(node: ast.expr, texts: dict[str, list[ast.expr]]) -> tuple[str, bool]:
    """The constant text of an expression, and whether a value is put into it.

    Args:
        node: Any expression; what is called or looked up counts as a value.
        texts: Of the names that the function around assigns, the expressions.
    """
    if isinstance(node, ast.Constant):
        return str(node.value), False
    if isinstance(node, ast.FormattedValue):
        inner, _ = text_of(node.value, texts)
        return inner, True
    if isinstance(node, ast.Name):
        others = {name: values for name, values in texts.items() if name != node.id}
        found = [text_of(value, others) for value in texts.get(node.id, [])]
        return " ".join(text for text, _ in found), True
    parts = [text_of(child, texts) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    return " ".join(text for text, _ in parts), any(value for _, value in parts) or isinstance(node, ast.Call)


# Hand on the sentence of an error that was raised inside, or are given theirs.
HANDS_ON = {
    "architecture/messages.py as_sentence",
    "profiler/measured/process.py _read",
    "space/holes.py error",
    "space/neighbourhood.py compile_neighbourhood",
    "space/space.py _check_options",
    "space/space.py params_of",
    "weights/checkpoints.py load_state",
    "weights/fill.py converted",
    "weights/narrowing.py _narrowed_neighbourhood",
    "weights/narrowing.py narrowed",
}
# Repeat what the user's own code raised: only its author knows what it allows.
CODE_OF_USERS = {"profiler/target.py import_code", "profiler/target.py build", "profiler/target.py naming_failures"}


def raises() -> Iterator[tuple[str, str, bool]]:
    """Of every error for users that is made in the package: file, function and line, its constant
    text, and whether a value is put into it or quoted in it.
    """
    names = errors_of_users()
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        constants = [node for node in tree.body if isinstance(node, ast.Assign)]
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        seen: set[ast.Call] = set()
        for function in reversed(functions):  # the innermost first
            texts: dict[str, list[ast.expr]] = {}
            for node in [*constants, *ast.walk(function)]:
                if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    for target in targets:
                        for name in ast.walk(target):
                            if isinstance(name, ast.Name):
                                texts.setdefault(name.id, []).append(node.value)
            for node in ast.walk(function):
                if not isinstance(node, ast.Call) or node in seen:
                    continue
                if isinstance(node.func, ast.Name) and node.func.id in names and node.args:
                    seen.add(node)
                    told = [text_of(argument, texts) for argument in node.args]
                    place = f"{path.relative_to(PACKAGE)} {function.name} {node.lineno}"
                    yield place, " ".join(text for text, _ in told), any(value for _, value in told)


def test_every_message_to_a_user_names_a_value_and_what_is_allowed() -> None:
    found = list(raises())
    assert len(found) > 150  # the walk finds them
    lacking = [
        (place, text)
        for place, text, value in found
        if ("allowed" not in text or not (value or "'" in text))
        and place.rpartition(" ")[0] not in HANDS_ON | CODE_OF_USERS
    ]
    assert lacking == []
