"""A client of the rouse daemon in one file, with the standard library only.

    async with await rouse.connect() as node:
        await node.send("bob", "hello")
        async for message in node.messages():
            print(message.sender, message.text)
            await message.ack()

The daemon keeps a message until it is acknowledged: a program that is killed before loses nothing, and gets the message
again when it runs next. Methods, parameters and results are those of daemon/API.md; `call` makes any of them.
"""

import asyncio
import base64
import json
import os
from pathlib import Path

# The longest line that the daemon writes: a message of 16 MiB whose characters are all escaped.
MAX_LINE = 128 << 20


class Error(Exception):
    """The failure of a call: `code` is stable, `hint` is the next step."""

    def __init__(self, error):
        super().__init__(error["message"])
        data = error.get("data") or {}
        self.code, self.hint = data.get("code"), data.get("hint")


class Message:
    """A message that waits for its acknowledgement. `document` has all its fields."""

    def __init__(self, node, document):
        self.node, self.document = node, document
        self.id, self.sender, self.sender_name = document["id"], document["from"], document["from_name"]

    @property
    def body(self):
        """The body in bytes."""
        text = self.document.get("text")
        return text.encode() if text is not None else base64.b64decode(self.document["base64"])

    @property
    def text(self):
        """The body as text; raises UnicodeDecodeError when it is none."""
        return self.body.decode()

    async def ack(self):
        """Removes the message from its inbox: it has been dealt with."""
        await self.node.call("ack", id=self.id, **{"from": self.sender})

    async def nack(self):
        """Gives the message back, for this or another receiver."""
        await self.node.call("nack", id=self.id, **{"from": self.sender})


class Node:
    """A connection to the daemon."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer
        self._calls, self._streams, self._next_id = {}, {}, 0
        self._end = None
        self._reading = asyncio.create_task(self._read())

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        """Closes the connection. Messages that were not acknowledged go back to their inboxes."""
        self._reading.cancel()
        self._writer.close()

    async def call(self, method, **params):
        """Calls a method, and returns its result."""
        if self._end is not None:
            raise self._end
        self._next_id += 1
        answer = asyncio.get_running_loop().create_future()
        self._calls[self._next_id] = answer
        request = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params}
        self._writer.write(json.dumps(request).encode() + b"\n")
        await self._writer.drain()
        return await answer

    async def send(self, peer, body, **options):
        """Sends a text or bytes; options are those of the method `send`, such as wait="delivered"."""
        part = {"text": body} if isinstance(body, str) else {"base64": base64.b64encode(body).decode()}
        return await self.call("send", peer=peer, **part, **options)

    async def messages(self, **options):
        """The messages as they come; options are those of the method `receive.open`."""
        async for params in self._stream("receive.open", "receive.close", "receiver", options):
            yield Message(self, params)

    async def events(self):
        """The events of the node as they happen."""
        async for params in self._stream("events.open", "events.close", "subscription", {}):
            yield params

    async def _stream(self, open_method, close_method, kind, options):
        opened = await self.call(open_method, **options)
        items = self._queue(kind, opened[kind])
        try:
            while True:
                item = await items.get()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            del self._streams[kind, opened[kind]]
            if self._end is None and not self._writer.is_closing():
                await self.call(close_method, **opened)

    def _queue(self, kind, number):
        # The first items may come before the answer that names the stream has been seen.
        return self._streams.setdefault((kind, number), asyncio.Queue())

    async def _read(self):
        end = ConnectionError("the daemon has closed the connection")
        try:
            while line := await self._reader.readline():
                self._take(json.loads(line))
        except (OSError, ValueError) as error:
            end = error
        self._end = end
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(end)
        for items in self._streams.values():
            items.put_nowait(end)

    def _take(self, document):
        if "method" in document:
            params = document["params"]
            for kind in ("receiver", "subscription"):
                if kind in params:
                    item = Error(params["error"]) if document["method"] == "closed" else params
                    self._queue(kind, params[kind]).put_nowait(item)
            return
        answer = self._calls.pop(document["id"], None)
        if answer is None or answer.done():
            return
        if "error" in document:
            answer.set_exception(Error(document["error"]))
        else:
            answer.set_result(document["result"])


def socket_paths():
    """The places of the daemon's socket, in the order in which `rouse` looks there."""
    env = os.environ
    if env.get("ROUSE_SOCKET"):
        return [Path(env["ROUSE_SOCKET"])]
    state = env.get("ROUSE_STATE_DIR") or env.get("STATE_DIRECTORY")
    if not state:
        state = Path(env.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "rouse"
    return [Path(state) / "rouse.sock", Path("/run/rouse/rouse.sock")]


async def connect(path=None):
    """Connects to the daemon at `path`, or where `rouse` finds it."""
    for candidate in [path] if path else socket_paths():
        try:
            reader, writer = await asyncio.open_unix_connection(candidate, limit=MAX_LINE)
            return Node(reader, writer)
        except (FileNotFoundError, ConnectionRefusedError):
            continue
    raise ConnectionError("no daemon answers; start one with `roused`, or set ROUSE_SOCKET")
