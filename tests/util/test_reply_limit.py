"""Replies that would fill the memory are given up, in both kinds of client."""

import asyncio

import openai
import pytest
from local_endpoint import LocalEndpoint, writes

from calib.util import reply_limit
from calib.util.reply_limit import large_replies, limited_client

SIZE = 3000


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    monkeypatch.setattr(reply_limit, "MAX_REPLY", SIZE - 1)


def sent(url):
    with limited_client(openai, 10) as client:
        return client.post(f"{url}/chat/completions", json={}).text


def sent_asynchronously(url):
    async def send():
        async with limited_client(openai, 10, asynchronous=True) as client:
            return (await client.post(f"{url}/chat/completions", json={})).text

    return asyncio.run(send())


@pytest.mark.parametrize("send", [sent, sent_asynchronously])
def test_a_reply_that_is_too_large(send):
    with LocalEndpoint(writes("y" * SIZE), writes("y" * (SIZE - 1))) as server:
        with pytest.raises(Exception, match=f"{SIZE - 1:,} bytes"):
            send(server.url)
        assert len(send(server.url)) == SIZE - 1


@pytest.mark.parametrize("send", [sent, sent_asynchronously])
def test_a_large_reply_that_was_requested(send, monkeypatch):
    with LocalEndpoint(writes("y" * SIZE)) as server:
        with large_replies():
            assert len(send(server.url)) == SIZE
        with large_replies(False), pytest.raises(Exception, match="bytes"):
            send(server.url)
        memory = type("Memory", (), {"total": 4 * (SIZE - 2)})
        monkeypatch.setattr("psutil.virtual_memory", memory)
        with large_replies(), pytest.raises(Exception, match=f"{SIZE - 2:,} bytes"):
            send(server.url)
