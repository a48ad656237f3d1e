"""The library {{id}}: other components import `site:{{package}}/api`."""

import greeting
from wit_world import exports


class Api(exports.Api):
    def greet(self, name: str) -> str:
        return greeting.greet(name)
