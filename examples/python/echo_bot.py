"""Sends each message back to its sender. It may be killed at any moment: no message is lost."""

import asyncio

import rouse


async def main():
    async with await rouse.connect() as node:
        async for message in node.messages():
            await node.send(message.sender, message.body)
            await message.ack()


asyncio.run(main())
