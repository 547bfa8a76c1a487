#!/usr/bin/env python3
"""A TCP proxy that breaks its first three connections, as networks and dying servers do.

usage: cut_proxy.py TARGET   (prints its own address, serves until it is killed)

1st connection: reset after 200 kB from the client.
2nd connection: from 100 kB on no answer comes back, and it is reset half a second later: what the server stores meanwhile
                is not acknowledged.
3rd connection: closed in good order after 200 kB.
Later ones pass.
"""

import asyncio
import contextlib
import socket
import struct
import sys

PIECE = 16 << 10


def reset(writer):
    # Without lingering the end is a RST, not a FIN. The other side may have closed already.
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def answers(reader, writer, is_mute):
    while piece := await reader.read(PIECE):
        if not is_mute.is_set():
            writer.write(piece)
            await writer.drain()
    writer.close()


async def requests(reader, writer, number, is_mute):
    count = 0
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
        count += len(piece)
        if number == 2 and count >= 100_000:
            is_mute.set()
        elif number in (1, 3) and count >= 200_000:
            return
    writer.close()


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    number = 0

    async def connected(client_reader, client_writer):
        nonlocal number
        number += 1
        this = number
        is_mute = asyncio.Event()
        server_reader, server_writer = await asyncio.open_connection(host, port)
        tasks = [
            asyncio.create_task(answers(server_reader, client_writer, is_mute)),
            asyncio.create_task(requests(client_reader, server_writer, this, is_mute)),
            asyncio.create_task(mute_end(is_mute)),
        ]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.exception()
        if this == 3:
            client_writer.close()
            server_writer.close()
        else:
            reset(client_writer)
            reset(server_writer)

    async def mute_end(is_mute):
        await is_mute.wait()
        await asyncio.sleep(0.5)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print("%s:%s" % server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


asyncio.run(main())
