"""TLS in front of a server that has none: `tls_front.py CERTIFICATE KEY PORT`. Prints its own port."""

import asyncio
import ssl
import sys


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def main(certificate, key, port):
    async def connect(reader, writer):
        to_server = await asyncio.open_connection("127.0.0.1", int(port))
        await asyncio.gather(copy(reader, to_server[1]), copy(to_server[0], writer))

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(connect, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
