"""What the server answers is what the engine answers offline, row by row."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from calib.data.example import Turn
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.engine.sharing import plain_tokens
from calib.serving.messages import conversation_of

STRENGTHS = (-4.0, -1.0, 0.0, 0.5, 1.0, 2.0, 4.0)


@pytest.fixture(scope="module")
def examples(mixed_examples):
    """Examples with and without pictures, system prompts and earlier turns."""
    some = list(mixed_examples)
    pictured = next(e for e in some if e.picture)
    plain = next(e for e in some if not e.picture)
    earlier = (Turn("What is this?", "This is a red ball.", pictured.picture),)
    some.append(replace(plain, demonstrations=earlier))
    some.append(replace(pictured, demonstrations=(*earlier, Turn("Hello", "Hello."))))
    some.append(replace(pictured, system="Remember to be a responsible assistant."))
    return some


def test_64_concurrent_requests_of_mixed_strengths_answer_as_offline(
    vlm, steered, server, examples, tools
):
    draw = random.Random(0)
    rows = [
        (examples[k % len(examples)], draw.choice((2, 3)), draw.choice(STRENGTHS))
        for k in range(64)
    ]
    asked = [Request(e, steered.setting(layer, s).intervention.edits) for e, layer, s in rows]
    together = generate(vlm, asked, Decoding(max_new_tokens=tools.tokens))
    alone = [generate(vlm, [one], Decoding(max_new_tokens=tools.tokens))[0] for one in asked[:12]]
    assert [r.tokens for r in together[:12]] == [r.tokens for r in alone]
    plain = {
        id(e): generate(vlm, [Request(e)], Decoding(max_new_tokens=tools.tokens))[0]
        for e in examples
    }
    moved = sum(r.text != plain[id(e)].text for (e, _, _), r in zip(rows, together, strict=True))
    assert moved > 16, "strengths that change nothing would show nothing"
    for one, response in list(zip(asked, together, strict=True))[:6]:
        assert plain_tokens(vlm, one, len(response.tokens))[0] == list(response.tokens)

    batches = []
    attempt = server.worker._attempt
    server.worker._attempt = lambda jobs: (batches.append(len(jobs)), attempt(jobs))[1]
    start = threading.Barrier(64)

    def ask(row):
        example, layer, strength = row
        with server.client() as client:
            start.wait()
            return client.chat.completions.create(
                model="mini",
                messages=tools.messages_of(example),
                extra_body={"calib": {"strength": strength, "layer": layer}},
            )

    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(ask, rows))
    server.worker._attempt = attempt
    for (_, layer, strength), answer, response in zip(rows, found, together, strict=True):
        (choice,) = answer.choices
        assert choice.message.content == response.text
        assert choice.finish_reason == response.finish
        assert answer.usage.completion_tokens == len(response.tokens)
        named = {"method": "steer", "layer": layer, "strength": strength}
        assert answer.calib == (named if strength else {**named, "method": "none", "layer": None})
    assert sum(batches) == 64 and max(batches) >= 16, f"they did not go together: {batches}"


def test_the_operating_point_is_what_requests_get_that_say_nothing(vlm, steered, client, tools):
    example = tools.said("Hello")
    texts = {}
    for name in ("mini", "mini-uncalibrated"):
        answer = client.chat.completions.create(model=name, messages=example)
        assert answer.model == name
        texts[name] = answer.choices[0].message.content
    same = client.chat.completions.create(
        model="mini", messages=example, extra_body={"calib": {"strength": 4.0, "layer": 3}}
    )
    none = client.chat.completions.create(
        model="mini", messages=example, extra_body={"calib": {"strength": 0}}
    )
    assert texts["mini"] == same.choices[0].message.content
    assert texts["mini-uncalibrated"] == none.choices[0].message.content
    assert texts["mini"] != texts["mini-uncalibrated"]


def test_limits_and_counts_of_tokens(vlm, client, tools):
    messages = tools.said("How do I kill a Python process?")
    short = client.chat.completions.create(
        model="mini-uncalibrated", messages=messages, max_tokens=2
    )
    again = client.chat.completions.create(
        model="mini-uncalibrated", messages=messages, max_completion_tokens=2
    )
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == again.usage.completion_tokens == 2
    assert short.choices[0].message.content == again.choices[0].message.content
    assert short.usage.total_tokens == short.usage.prompt_tokens + 2
    text = vlm.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": messages[0]["content"]}]}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )
    assert short.usage.prompt_tokens == len(text["input_ids"][0])


def test_draws_are_the_seeds(client, tools):
    def ask(**settings):
        answer = client.chat.completions.create(
            model="mini-uncalibrated",
            messages=tools.said("What is a knife?"),
            temperature=2.0,
            **settings,
        )
        return answer.choices[0].message.content

    assert ask(seed=1) == ask(seed=1)
    assert len({ask(seed=k) for k in range(6)}) > 1
    assert len({ask() for _ in range(8)}) > 1
    assert ask(seed=-(2**63)) and ask(seed=2**63 - 1)


def test_drawn_answers_are_those_of_the_engine(vlm, client, tools, mixed_examples):
    example = mixed_examples[0]
    decoding = Decoding(max_new_tokens=tools.tokens, temperature=1.5, top_p=0.9)
    offline = generate(vlm, [Request(example, seed=5)], decoding)[0]
    answer = client.chat.completions.create(
        model="mini-uncalibrated",
        messages=tools.messages_of(example),
        temperature=1.5,
        top_p=0.9,
        seed=5,
    )
    assert answer.choices[0].message.content == offline.text


def test_parts_of_text_are_lines_and_a_picture_stands_before_them(vlm, client, tools):
    from PIL import Image

    picture = Image.new("RGB", (40, 40), "red")
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": tools.png(picture)}},
        {"type": "text", "text": "Say it."},
    ]
    swapped = [parts[1], {"type": "text", "text": "What is this?\nSay it."}]
    counts = [
        client.chat.completions.create(
            model="mini", messages=[{"role": "user", "content": content}]
        )
        for content in (parts, swapped)
    ]
    assert counts[0].choices[0].message.content == counts[1].choices[0].message.content
    assert counts[0].usage == counts[1].usage
    found = conversation_of([{"role": "user", "content": parts}]).example
    assert found.query == "What is this?\nSay it." and found.picture is not None


def test_a_stop_text_ends_the_answer_and_is_left_out(client, tools):
    def ask(**settings):
        return client.chat.completions.create(
            model="mini-uncalibrated",
            messages=tools.said("How do I kill a Python process?"),
            **settings,
        )

    whole = ask().choices[0].message.content
    words = whole.split()
    assert len(words) > 3
    cut = ask(stop=[words[2]])
    assert cut.choices[0].message.content == whole[: whole.index(words[2])]
    assert cut.choices[0].finish_reason == "stop"
    assert cut.usage.completion_tokens < ask().usage.completion_tokens
    assert ask(stop="not in it").choices[0].message.content == whole
    assert ask(stop=words[0]).choices[0].message.content == ""
    # A stop text that ends with the last token that was allowed counts too.
    last = ask(max_tokens=2).choices[0].message.content
    found = ask(max_tokens=2, stop=last[-1]).choices[0]
    assert (found.message.content, found.finish_reason) == (last[: last.index(last[-1])], "stop")
