"""Jobs of a worker without a client, and requests of a client."""

import queue

import openai
from server_thread import user_message

from calib.data.example import Example
from calib.engine.request import Decoding
from calib.serving.job import Job
from calib.serving.messages import Conversation


def complete(server, text, **settings):
    """The response to a request, or the error of the client."""
    with server.client() as client:
        try:
            completion = client.chat.completions.create(
                model="mini", messages=user_message(text), **settings
            )
            return completion.choices[0].message.content
        except openai.APIStatusError as error:
            return error


def job_and_events(notify=None, max_new_tokens=2):
    """A job without a client, and the queue of its events."""
    events = queue.Queue()
    example = Example("e", "d", "v", "c", "test", "Hello")
    decoding = Decoding(max_new_tokens=max_new_tokens, kl=False)
    return Job(Conversation(example), None, 0.0, decoding, notify or events.put), events
