"""The page {{route}}."""

from greeting import html
from wit_world import exports
from wit_world.imports.types import Request, Response

GREETING = "Hello from Python"


class Handler(exports.Handler):
    def handle(self, request: Request) -> Response:
        headers = [("content-type", b"text/html; charset=utf-8")]
        return Response(status=200, headers=headers, body=html(GREETING).encode())
