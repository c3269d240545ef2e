"""A real chat endpoint on loopback that answers, or misbehaves, by a rule."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
from openai.resources.chat.completions import AsyncCompletions
from openai.types.chat import ChatCompletion

HALF, QUARTER = -0.6931472, -1.3862944


def answer(text: str = "4", finish: str = "stop", content: list | None = None, **more) -> dict:
    """A chat completion of two tokens with probabilities 1/2, 1/4 each."""
    if content is None:
        pair = [{"token": t, "logprob": v} for t, v in (("a", HALF), ("b", QUARTER))]
        content = [{"token": "a", "logprob": HALF, "top_logprobs": pair}] * 2
    choice = {
        "index": 0, "finish_reason": finish, "logprobs": {"content": content},
        "message": {"role": "assistant", "content": text},
    }  # fmt: skip
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    head = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "usage": usage}
    return head | {"choices": [choice]} | more


class Server:
    """Answers by ``rule``: (number of the request, its body) to (status, headers, body).

    A body is a document or bytes; without one the server hangs up.
    """

    def __init__(self) -> None:
        self.rule: Callable = lambda number, body: (200, {}, answer())
        self.bodies: list[dict] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self._closed = threading.Event()
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(server.bodies)
                    server.bodies.append(body)
                    server.times.append(time.monotonic())
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                status, headers, document = server.rule(number, body)
                with lock:
                    server.at_once -= 1
                if document is None:  # Hang up without a word.
                    self.close_connection = True
                    return
                raw = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
                self.close_connection = "Content-Length" in headers

            def log_message(self, *_: object) -> None:
                pass

        class Http(ThreadingHTTPServer):
            request_queue_size = 128  # The standard 5 lets connections of a busy client time out.

        self._http = Http(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def never(self, *_: object) -> tuple[int, dict, None]:
        """A rule that keeps silent until the server is closed."""
        self._closed.wait()
        return 200, {}, None

    def close(self) -> None:
        self._closed.set()
        self._http.shutdown()
        self._http.server_close()


def impatient(monkeypatch: pytest.MonkeyPatch, of: Callable[[dict], bool]) -> list[float]:
    """Have clients give up soon on requests that are some ``of`` these, and on no other.

    Others keep the time that a busy machine may need. Returns, as it fills, how many seconds a
    client would have waited for each of the former.
    """
    create, meant = AsyncCompletions.create, []

    async def hurried(self: AsyncCompletions, **request: object) -> ChatCompletion:
        if of(request):
            meant.append(self._client.timeout)
            request["timeout"] = openai.Timeout(30, read=0.1)
        return await create(self, **request)

    monkeypatch.setattr(AsyncCompletions, "create", hurried)
    return meant
