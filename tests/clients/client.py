"""The client of the Python package `mcp`.

The test talks to it in JSON, one object a line: commands on standard input, answers on standard
output.
"""

import json
import sys
import traceback
from contextlib import AsyncExitStack
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

# Nobody listens there: the scripted browser stops before.
REDIRECT_URI = "http://127.0.0.1:51999/callback"


async def receive():
    line = await anyio.to_thread.run_sync(sys.stdin.readline)
    return json.loads(line) if line else None


def send(message):
    print(json.dumps(message), flush=True)


class Storage:
    """Tokens and registration, in memory."""

    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


async def redirect(url):
    send({"authorize": url})


async def callback():
    url = (await receive())["callback"]
    parameters = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    if "error" in parameters:
        # It leaves the error of an authorization response to the program that uses it.
        raise RuntimeError(f"the login failed: {parameters['error']}")
    return AuthorizationCodeResult(
        code=parameters["code"], state=parameters["state"], iss=parameters.get("iss")
    )


class Commands:
    def __init__(self, stack):
        self.stack = stack
        self.storage = Storage()
        self.client = None

    async def connect(self, url, document=None):
        metadata = OAuthClientMetadata(client_name="python", redirect_uris=[REDIRECT_URI])
        auth = OAuthClientProvider(
            url, metadata, self.storage, redirect, callback, client_metadata_url=document
        )
        http = await self.stack.enter_async_context(httpx2.AsyncClient(auth=auth, timeout=60))
        transport = streamable_http_client(url, http_client=http)
        self.client = await self.stack.enter_async_context(Client(transport))

    async def tools(self):
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call(self, tool, arguments):
        steps = []

        async def heard(progress, _total, _message):
            steps.append(progress)

        result = await self.client.call_tool(tool, arguments, progress_callback=heard)
        return {"text": "".join(block.text for block in result.content), "progress": steps}

    async def kept(self):
        tokens = self.storage.tokens.model_dump(mode="json")
        return {"client_id": self.storage.client.client_id, **tokens}


async def main():
    async with AsyncExitStack() as stack:
        commands = Commands(stack)
        while (command := await receive()) is not None:
            try:
                send({"ok": await getattr(commands, command.pop("do"))(**command)})
            except Exception:
                send({"error": traceback.format_exc()})


anyio.run(main)
