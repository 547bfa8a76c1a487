"""The stubs say what the protos say."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor

import pgfox
from pgfox.v1 import collections_pb2, documents_pb2, errors_pb2, filter_pb2, indexes_pb2, pgfox_service_pb2, search_pb2

FOLDER = Path(pgfox.__file__).parent / "v1"
MODULES = [collections_pb2, documents_pb2, errors_pb2, filter_pb2, indexes_pb2, search_pb2]


def docstrings(module: str) -> dict[str, str]:
    """The docstrings of a stub by the names of classes and attributes, such as `Document.text`."""
    found: dict[str, str] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for statement, following in zip(body, [*body[1:], None], strict=True):
            if isinstance(statement, ast.ClassDef):
                if text := ast.get_docstring(statement):
                    found[prefix + statement.name] = text
                visit(statement.body, f"{prefix}{statement.name}.")
            elif (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                found[prefix + statement.target.id] = following.value.value

    visit(ast.parse((FOLDER / f"{module}.pyi").read_text()).body, "")
    return found


def names_of(file: FileDescriptor) -> set[str]:
    names: set[str] = set()

    def of_enum(enum: EnumDescriptor, prefix: str) -> None:
        names.add(prefix + enum.name)
        names.update(f"{prefix}{value.name}" for value in enum.values)
        names.update(f"{prefix}{enum.name}.{value.name}" for value in enum.values)

    def of_message(message: Descriptor, prefix: str) -> None:
        if message.GetOptions().map_entry:
            return
        names.add(prefix + message.name)
        names.update(f"{prefix}{message.name}.{field.name}" for field in message.fields)
        for nested in message.nested_types:
            of_message(nested, f"{prefix}{message.name}.")
        for enum in message.enum_types:
            of_enum(enum, f"{prefix}{message.name}.")

    for message in file.message_types_by_name.values():
        of_message(message, "")
    for enum in file.enum_types_by_name.values():
        of_enum(enum, "")
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_messages_fields_and_values_have_docstrings(module: object) -> None:
    file: FileDescriptor = module.DESCRIPTOR  # type: ignore[attr-defined]
    missing = names_of(file) - docstrings(file.name.rpartition("/")[2].replace(".proto", "_pb2")).keys()
    assert not missing


def test_methods_have_docstrings_in_both_stubs() -> None:
    service = pgfox_service_pb2.DESCRIPTOR.services_by_name["PgfoxService"]
    found = docstrings("pgfox_service_pb2_grpc")
    for stub in ("PgfoxServiceStub", "PgfoxServiceAsyncStub"):
        assert {f"{stub}.{method.name}" for method in service.methods} <= found.keys()


def test_a_docstring_is_the_comment_as_it_stands() -> None:
    found = docstrings("filter_pb2")
    assert found["Condition.exists"] == "True: there is a value. False: the value is missing."
    assert r'write `"` and `\` in it as `\"` and `\\`:' in found["Condition.field"]
    assert "\n" in found["Filter"]
