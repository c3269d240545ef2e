"""A chat endpoint that adds two numbers, more or less: small models in no time, behind real HTTP.

How often it errs grows with the numbers and falls with the model's ``skill``. A wrong answer mostly
comes with a higher entropy. Everything follows from the question, so repeats agree.
"""

import math
import random
import re
import time

from tests.chat_server import Server, answer


def adding(skill: float = 1.0, latency_s: float = 0.0) -> Server:
    """A running server; ``server.close()`` ends it."""
    server = Server()

    def rule(number: int, body: dict) -> tuple[int, dict, dict]:
        time.sleep(latency_s)
        question = body["messages"][-1]["content"]
        terms = [int(n.replace(" ", "")) for n in re.findall(r"[-+]?\s*\d+", question)]
        draw = random.Random(f"{body['model']} {question}")
        right = draw.random() < 0.95 * math.exp(-sum(map(abs, terms)) / 250 / skill)
        text = f"The answer is {sum(terms) + (0 if right else draw.randint(1, 9))}."
        n_tokens = draw.randint(3, 9)
        doubt = draw.uniform(0.02, 0.35) + (0 if right else draw.uniform(0.0, 0.6))
        content = []
        for _ in range(n_tokens):
            top = math.log(1 - min(0.9, doubt * draw.random()))
            rest = (1 - math.exp(top)) / 20
            pairs = [("a", top), *((f"b{i}", math.log(rest)) for i in range(19))]
            tops = [{"token": t, "logprob": v} for t, v in pairs]
            content.append({"token": "a", "logprob": top, "top_logprobs": tops})
        usage = {"prompt_tokens": 12, "completion_tokens": n_tokens, "total_tokens": 12 + n_tokens}
        return 200, {}, answer(text, content=content, usage=usage)

    server.rule = rule
    return server


def grading(latency_s: float) -> Server:
    """A running server that grades as a judge is asked to, one line a reply; it takes no schema."""
    server = Server()

    def rule(number: int, body: dict) -> tuple[int, dict, dict]:
        if "response_format" in body:
            return 400, {}, {"error": {"message": "response_format is not known"}}
        time.sleep(latency_s)
        asked = body["messages"][-1]["content"]
        said, right = (
            re.findall(rf"<{part}-\w+>.*?(-?\d+)\D*</{part}", asked, re.DOTALL)[0]
            for part in ("response", "correct-answer")
        )
        return 200, {}, answer(f'{{"success": {said == right}}}')

    server.rule = rule
    return server


def judge(name: str, url: str, **more: object) -> dict:
    """Conf of a judge behind the server that asks one question at a time."""
    endpoint = {"base_url": url, "api_key_env": None, "concurrency": 1}
    return {"name": name, "kind": "llm", "model": name, "endpoint": endpoint} | more


def model(name: str, url: str) -> dict:
    """Conf of a model behind the server."""
    endpoint = {"base_url": url, "api_key_env": None}
    return {"name": name, "engine": "openai", "model": name, "endpoint": endpoint}


def benchmarks(items: int, **largest: int) -> dict[str, dict]:
    """Conf of benchmarks of sums; each keyword is a name and how large its numbers are."""
    return {
        name: {
            "name": name,
            "version": 1,
            "source": {
                "generator": "chain_sum",
                "size": items,
                "seed": 7,
                "config": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": digits},
            },
        }
        for name, digits in largest.items()
    }
