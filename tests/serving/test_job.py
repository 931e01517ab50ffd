"""Tracking of a growing response: what is streamed, and when it ends."""

import pytest

from calib.data.example import Example
from calib.engine.request import Decoding
from calib.serving.job import Job, ResponseTracker, TextDelta
from calib.serving.messages import Conversation

UNFINISHED = "\N{REPLACEMENT CHARACTER}"


def job_and_events(stop=(), stream=True):
    """A job without a client, and the list of its events."""
    events = []
    conversation = Conversation(Example("e", "d", "v", "c", "test", "q"))
    decoding = Decoding()
    return Job(conversation, None, 0.0, decoding, events.append, stop=stop, stream=stream), events


def streamed(events):
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_text_that_the_next_token_may_change_is_held_back():
    job, events = job_and_events()
    tracker = ResponseTracker(job)
    for text in ("I", "I ca", "I ca n", "I can't", f"I can't {UNFINISHED}"):
        assert not tracker.update(text)
    assert streamed(events) == "I can't"
    assert not tracker.update(f"I can't {UNFINISHED}{UNFINISHED}")
    assert UNFINISHED not in streamed(events)
    assert tracker.finish("I can't é") == "I can't é"
    assert streamed(events) == "I can't é"


def test_the_beginning_of_a_stop_sequence_is_held_back():
    job, events = job_and_events(stop=("END now", "###"))
    tracker = ResponseTracker(job)
    for text in ("a b", "a b c E", "a b c END", "a b c END no"):
        assert not tracker.update(text)
        assert "E" not in streamed(events)
    assert not tracker.update("a b c END nobody")
    assert tracker.update("a b c END nobody ### x")
    assert tracker.finish("a b c END nobody ### x") == "a b c END nobody "
    assert streamed(events) == "a b c END nobody "


def test_a_response_that_starts_over_is_streamed_once():
    job, events = job_and_events()
    for text in ("one", "one two", "one two three"):
        ResponseTracker(job).update(text)
    tracker = ResponseTracker(job)
    for text in ("one", "one two", "one two three"):
        tracker.update(text)
    retry = ResponseTracker(job)  # after running out of memory the row starts over
    for text in ("one", "one two", "one two three", "one two three four"):
        retry.update(text)
    assert retry.finish("one two three four") == "one two three four"
    assert streamed(events) == "one two three four"
    with pytest.raises(ValueError):
        ResponseTracker(job).finish("another text")


def test_nothing_is_streamed_without_stream():
    job, events = job_and_events(stream=False)
    tracker = ResponseTracker(job)
    assert not tracker.update("a") and not tracker.update("a b")
    assert tracker.finish("a b") == "a b" and events == []


def test_a_cancelled_job_needs_no_more_tokens():
    job, _ = job_and_events()
    tracker = ResponseTracker(job)
    assert not tracker.update("a b")
    job.cancelled = True
    assert tracker.update("a b c")
