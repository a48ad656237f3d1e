"""A page whose component carries the Python interpreter: it greets and counts the requests it answered."""

from wit_world import exports
from wit_world.imports.types import Request, Response

GREETING = "Hello from Python"

requests = 0


class Handler(exports.Handler):
    def handle(self, request: Request) -> Response:
        global requests
        requests += 1
        html = f'<!doctype html><h1>{GREETING}</h1><p id="requests" data-count="{requests}">Request {requests}</p>\n'
        return Response(
            status=200,
            headers=[("content-type", b"text/html; charset=utf-8")],
            body=html.encode(),
        )
