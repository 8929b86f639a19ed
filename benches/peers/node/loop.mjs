// A runtime in a page of JavaScript: asks Lambda's Runtime API for an event, runs the handler that the argument names, answers.
import http from 'node:http';

const handlers = {
  hello: (event) => ({ message: `Hello, ${event.name ?? 'World'}!` }),
  // The same as the component `javascript-handler` of the tests.
  handle: (event, requestId) => ({ event, requestId }),
};
const handler = handlers[process.argv[2]];

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) };
    const request = http.request({ host, port, agent, method, headers, path: `/2018-06-01/runtime/invocation/${path}` });
    request.on('error', reject);
    request.on('response', (response) => {
      const pieces = [];
      response.on('data', (piece) => pieces.push(piece));
      response.on('error', reject);
      response.on('end', () => resolve({ headers: response.headers, body: Buffer.concat(pieces).toString() }));
    });
    request.end(body);
  });
}

for (;;) {
  const { headers, body } = await call('GET', 'next');
  const requestId = headers['lambda-runtime-aws-request-id'];
  await call('POST', `${requestId}/response`, JSON.stringify(handler(JSON.parse(body), requestId)));
}
