// A handler of Orlop in JavaScript: answers with what it got, or fails as the event says.

export const handler = {
  handle(event, context) {
    const data = JSON.parse(new TextDecoder().decode(event));
    if (data.fail !== undefined) {
      throw { errorType: 'Refused', message: data.fail, stackTrace: ['in JavaScript'] };
    }
    return new TextEncoder().encode(JSON.stringify({ event: data, requestId: context.requestId }));
  },
};
