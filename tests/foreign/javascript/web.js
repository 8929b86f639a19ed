// The site in JavaScript, as a service worker is written.

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname, search } = new URL(request.url);
  if (pathname.startsWith('/status/')) {
    return new Response(null, { status: Number(pathname.slice('/status/'.length)) });
  }
  switch (pathname) {
    case '/':
      return new Response('Hello from JavaScript\n');
    case '/echo': {
      const type = request.headers.get('content-type');
      return new Response(await request.arrayBuffer(), { headers: type === null ? {} : { 'content-type': type } });
    }
    case '/request': {
      const headers = [...request.headers].filter(([name]) => name.startsWith('x-test-'));
      return Response.json({ method: request.method, path: pathname + search, headers });
    }
    case '/cookies': {
      const headers = new Headers();
      headers.append('set-cookie', 'a=1; Path=/');
      headers.append('set-cookie', 'b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT');
      return new Response('cookies\n', { headers });
    }
    case '/bytes':
      return new Response(Uint8Array.from({ length: 256 }, (_, byte) => byte), {
        headers: { 'content-type': 'application/octet-stream' },
      });
    case '/fail':
      throw new Error('asked to');
    default:
      return new Response('no such page\n', { status: 404 });
  }
}
