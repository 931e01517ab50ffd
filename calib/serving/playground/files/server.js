// Requests to the server of this page. The key is kept in memory only.

let key = "";

export function setKey(given) {
  key = given;
}

export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// The JSON answer to a GET, or to a POST of `body`.
export async function ask(path, body, signal) {
  const response = await send(path, body, signal);
  return response.json();
}

// The events of a streamed response, as objects.
export async function* stream(path, body, signal) {
  const response = await send(path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let ended = false;
  while (!ended) {
    const { value, done } = await reader.read();
    if (done) break;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") {
        ended = true;
        break;
      }
      const parsed = JSON.parse(data);
      if (parsed.error) throw new ServerError(500, parsed.error.message);
      yield parsed;
    }
  }
  if (!ended) throw new ServerError(0, "The server closed the connection before the answer was complete.");
}

async function send(path, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const options = { headers, signal, cache: "no-store", credentials: "omit" };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(0, "The server cannot be reached. Is it still running?");
  }
  if (!response.ok) throw new ServerError(response.status, await message(response));
  return response;
}

async function message(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered with status ${response.status}.`;
  }
}
