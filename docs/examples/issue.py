"""Issues an invoice, keeps its receipt, downloads it again at another node.

What it shows: one request id per business event, retries that are safe, RetryInfo, and where
the receipt is. docs/integrating.md explains each step.

    pip install grpcio grpcio-tools grpcio-status
    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. \
        proto/muniment/v1/types.proto proto/muniment/v1/invoice.proto
    python docs/examples/issue.py INV-7.pdf INV-7
"""

import hashlib
import os
import sys
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

sys.path.insert(0, os.getcwd())  # where protoc put the generated code
from muniment.v1 import invoice_pb2 as pb  # noqa: E402
from muniment.v1 import invoice_pb2_grpc as rpc  # noqa: E402
from muniment.v1 import types_pb2 as types  # noqa: E402

NODES = os.environ.get(
    "MUNIMENT_NODES", "127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403"
).split(",")
STUBS = [rpc.InvoiceServiceStub(grpc.insecure_channel(node)) for node in NODES]

# The outcome is unknown: the very same call again, at the next node.
UNKNOWN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
}
DEADLINE_S = 30
CHUNK_BYTES = 256 * 1024  # at most 1 MiB


def asked_pause_s(error):
    """How long the server asks to wait (RetryInfo), where the same call may succeed then."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.ToTimedelta().total_seconds()
    return None


def again(call, attempts=8):
    """Calls one node after the other until one answers."""
    for attempt in range(attempts):
        try:
            return call(STUBS[attempt % len(STUBS)])
        except grpc.RpcError as error:
            pause_s = asked_pause_s(error)
            if pause_s is None and error.code() not in UNKNOWN:
                raise  # the same call would fail again: see the table of errors
            time.sleep(min(1.0, 0.01 * 2**attempt) if pause_s is None else pause_s)
    raise RuntimeError("outcome unknown: try again later, with the same request id")


def issue(number, pdf, request_id):
    header = pb.UploadHeader(
        request_id=request_id,
        length=len(pdf),
        sha256=hashlib.sha256(pdf).digest(),
        metadata=types.Metadata(
            identity=types.Identity(number=number),
            issue_date="2026-11-27",
            total=types.Money(minor_units=1234, currency="EUR", exponent=2),
        ),
    )

    def parts():  # made anew for each attempt
        yield pb.IssueRequest(header=header)
        for at in range(0, len(pdf), CHUNK_BYTES):
            yield pb.IssueRequest(chunk=pdf[at : at + CHUNK_BYTES])

    return again(lambda stub: stub.Issue(parts(), timeout=DEADLINE_S))


def download(uid):
    def whole(stub):
        asked = pb.DownloadRequest(key=pb.InvoiceKey(uid=uid))
        document, header, trailer = bytearray(), None, None
        for message in stub.Download(asked, timeout=DEADLINE_S):
            part = message.WhichOneof("part")
            if part == "header":
                header = message.header
            elif part == "chunk":
                document += message.chunk
            else:
                trailer = message.trailer
        if trailer is None or hashlib.sha256(document).digest() != trailer.sha256:
            raise RuntimeError("the download is not complete")
        return bytes(document), header.receipt.bytes

    return again(whole)


def main(path, number):
    with open(path, "rb") as file:
        pdf = file.read()
    # Store it with the order BEFORE the call; a crash then costs nothing.
    request_id = os.environ.get("REQUEST_ID", str(uuid.uuid4()))
    answer = issue(number, pdf, request_id)
    with open(f"{number}.receipt", "wb") as file:
        file.write(answer.receipt.bytes)  # `muniment-verify receipt` reads this file
    print("issued", answer.invoice.uid, "before" if answer.repeated else "now")
    print("durable in", ", ".join(answer.durability.zones))

    document, _receipt = download(answer.invoice.uid)
    print("downloaded", len(document), "bytes, the same:", document == pdf)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
