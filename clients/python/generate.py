"""The protoc plugin that makes src/pgfox/v1: buf hands it the protos, grpcio-tools and mypy-protobuf do the work.

protoc knows `--grpc_python_out` only as a part of grpcio-tools, where buf cannot call it, and writes a file for every
proto even where it has no service. `generate-requirements.txt` pins the versions; buf.gen.yaml calls this.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet


def protoc(descriptors: Path, out: Path, kinds: list[str], protos: list[str]) -> None:
    mypy_grpc = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={descriptors}"]
    command += [f"--plugin=protoc-gen-mypy_grpc={mypy_grpc}", *(f"--{kind}{out}" for kind in kinds), *protos]
    # stdout belongs to the answer.
    subprocess.run(command, check=True, stdout=sys.stderr)


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
        for path in sorted(out.rglob("*.py*")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text())
    sys.stdout.buffer.write(response.SerializeToString())


if __name__ == "__main__":
    main()
