"""Stands between a client and a server and writes down what passes, byte for byte.

    record.py UPSTREAM_PORT RECORDING

Prints the port that it listens on. It knows neither HTTP nor Bedrock, so it can neither hide nor
repair anything: a client sees the very bytes that the server sent, when it sent them. Each line of
the recording is one connection, written when it has ended.
"""

import asyncio
import base64
import json
import signal
import sys

CHUNK = 1 << 16


class Connection:
    def __init__(self):
        self.parts = {"client": bytearray(), "server": bytearray()}
        self.closed_by = None

    async def pump(self, side, reader, writer):
        try:
            while data := await reader.read(CHUNK):
                self.parts[side] += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        self.closed_by = self.closed_by or side
        # One direction's end is the end of both: no client here closes only half.
        writer.close()

    def line(self):
        parts = {side: base64.b64encode(data).decode() for side, data in self.parts.items()}
        return json.dumps({**parts, "closed_by": self.closed_by}) + "\n"


async def record(upstream_port, recording):
    async def serve(reader, writer):
        connection = Connection()
        try:
            upstream = await asyncio.open_connection("127.0.0.1", upstream_port)
        except ConnectionError:
            writer.close()
            return
        try:
            await asyncio.gather(
                connection.pump("client", reader, upstream[1]),
                connection.pump("server", upstream[0], writer),
            )
        finally:
            recording.write(connection.line())
            recording.flush()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    server.close()
    # Clients that keep a connection for a next request have nothing more to say.
    remaining = asyncio.all_tasks() - {asyncio.current_task()}
    for task in remaining:
        task.cancel()
    await asyncio.gather(*remaining, return_exceptions=True)


if __name__ == "__main__":
    with open(sys.argv[2], "w", encoding="ascii") as file:
        asyncio.run(record(int(sys.argv[1]), file))
