// A page whose component carries the JavaScript engine: it greets and counts the requests it answered.

const GREETING = "Hello from JavaScript";

let requests = 0;

export const handler = {
  handle() {
    requests += 1;
    const html = `<!doctype html><h1>${GREETING}</h1><p id="requests" data-count="${requests}">Request ${requests}</p>\n`;
    return {
      status: 200,
      headers: [["content-type", bytes("text/html; charset=utf-8")]],
      body: bytes(html),
    };
  },
};

function bytes(text) {
  return new TextEncoder().encode(text);
}
