"""The protoc plugin that makes src/pgfox/v1: buf hands it the protos, grpcio-tools and mypy-protobuf do the work.

protoc knows `--grpc_python_out` only as a part of grpcio-tools, where buf cannot call it, and writes a file for every
proto even where it has no service. `generate-requirements.txt` pins the versions; buf.gen.yaml calls this.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

# Field numbers in descriptor.proto. A path in a file consists of them: the comment of the second field of the first
# message is at (4, 0, 2, 1).
SYNTAX, MESSAGES, ENUMS = 12, 4, 5
FIELDS, NESTED_MESSAGES, NESTED_ENUMS, VALUES = 2, 3, 4, 2


def protoc(descriptors: Path, out: Path, kinds: list[str], protos: list[str]) -> None:
    mypy_grpc = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={descriptors}"]
    command += [f"--plugin=protoc-gen-mypy_grpc={mypy_grpc}", *(f"--{kind}{out}" for kind in kinds), *protos]
    # stdout is for the answer.
    subprocess.run(command, check=True, stdout=sys.stderr)


class Comments:
    """The comments of a proto, by the names of what they describe, such as `Document.text`."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._paths = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        self._names: dict[str, str] = {"": self._paths.get((SYNTAX,), "")}
        for index, message in enumerate(file.message_type):
            self._message((MESSAGES, index), "", message)
        for index, enum in enumerate(file.enum_type):
            self._enum((ENUMS, index), "", enum)

    def docstring(self, name: str, indent: str) -> str:
        """The comment as a docstring; nothing when there is none."""
        lines = [line.strip() for line in self._names.get(name, "").strip().splitlines()]
        if not lines:
            return ""
        text = (
            f"\n{indent}".join(lines)
            .replace("\\", "\\\\")
            .replace('"""', r"\"\"\"")
            .replace("\n" + indent + "\n", "\n\n")
        )
        return (
            f'{indent}"""{text}\n{indent}"""\n' if len(lines) > 1 or text.endswith('"') else f'{indent}"""{text}"""\n'
        )

    def _message(self, path: tuple[int, ...], parent: str, message: DescriptorProto) -> None:
        name = f"{parent}{message.name}"
        self._put(name, path)
        for index, field in enumerate(message.field):
            self._put(f"{name}.{field.name}", (*path, FIELDS, index))
        for index, nested in enumerate(message.nested_type):
            self._message((*path, NESTED_MESSAGES, index), f"{name}.", nested)
        for index, enum in enumerate(message.enum_type):
            self._enum((*path, NESTED_ENUMS, index), f"{name}.", enum)

    def _enum(self, path: tuple[int, ...], parent: str, enum: EnumDescriptorProto) -> None:
        self._put(f"{parent}{enum.name}", path)
        for index, value in enumerate(enum.value):
            # A value is visible beside its enum and inside it.
            self._put(f"{parent}{value.name}", (*path, VALUES, index))
            self._put(f"{parent}{enum.name}.{value.name}", (*path, VALUES, index))

    def _put(self, name: str, path: tuple[int, ...]) -> None:
        self._names[name] = self._paths.get(path, "")


def documented(stub: str, comments: Comments) -> str:
    """The stub of a module with the comments of its proto as docstrings, and with dicts whose types are known."""
    out = comments.docstring("", "")
    classes: list[str] = []
    for line in stub.splitlines(keepends=True):
        indent = line[: len(line) - len(line.lstrip())]
        if line.strip():
            del classes[len(indent) // 4 :]
        if line.startswith("from typing import "):
            line = line.replace("import ", "import Any as _Any, ", 1)
        else:
            # A dict for a message: strict type checkers require its type.
            line = re.sub(r"_Mapping(?!\[)", "_Mapping[str, _Any]", line)
        out += line
        if found := re.match(r"\s*class (\w+)", line):
            classes.append(found[1])
            out += comments.docstring(".".join(classes), indent + "    ")
        elif found := re.match(r"\s*(\w+): ", line):
            out += comments.docstring(".".join([*classes, found[1]]), indent)
    return out


def with_coroutines(stub: str) -> str:
    """The stub of the service, whose asynchronous methods are coroutine functions: those of `pgfox.aio` are."""
    stub = stub.replace("grpc.aio.UnaryUnaryMultiCallable[", "pgfox._aio_unary.UnaryUnary[")
    return stub.replace("import pgfox.v1.", "import pgfox._aio_unary\nimport pgfox.v1.", 1)


def main() -> None:
    request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    wanted = list(request.file_to_generate)
    services = [file.name for file in request.proto_file if file.name in wanted and file.service]
    response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
    with tempfile.TemporaryDirectory() as folder:
        descriptors, out = Path(folder, "descriptors"), Path(folder, "out")
        out.mkdir()
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        protoc(descriptors, out, ["python_out=", "pyi_out="], wanted)
        protoc(descriptors, out, ["grpc_python_out=", "mypy_grpc_out=quiet:"], services)
        comments = {file.name.removesuffix(".proto"): Comments(file) for file in request.proto_file}
        for path in sorted(out.rglob("*.py*")):
            name, content = path.relative_to(out).as_posix(), path.read_text()
            if name.endswith("_pb2.pyi"):
                content = documented(content, comments[name.removesuffix("_pb2.pyi")])
            elif name.endswith("_pb2_grpc.pyi"):
                content = with_coroutines(content)
            response.file.add(name=name, content=content)
    sys.stdout.buffer.write(response.SerializeToString())


if __name__ == "__main__":
    main()
