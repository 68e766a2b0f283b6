"""A graph that has every form of control, for tests of what has to hold in all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from omni_agent import Core, Graph, Stream, Text, Unsure

__all__ = ["everything"]


def everything() -> Graph:
    """Every step asks the core, or sleeps; inputs: `words`."""
    page = Graph("page", inputs={"word": Text})

    @page.step
    async def described(word: Text, core: Core) -> Text:
        return await core.answer(word)

    @page.step(unsure=Unsure(below=0.5, retry=1, then="asked"))
    async def checked(described: Text, core: Core) -> Text:
        return await core.answer(described)

    @page.step
    async def asked(checked: Text, core: Core) -> Text:
        return await core.answer(checked)

    @page.step
    async def shown(checked: Text) -> Text:
        return checked

    graph = Graph("everything", inputs={"words": list[Text]})
    graph.step(page, as_="pages", map={"word": "words"}, width=3, output="shown")

    @graph.step
    async def spelled(words: list[Text], core: Core) -> AsyncIterator[Text]:
        for word in words:
            yield await core.answer(word)

    @graph.step(join="".join)
    async def echoed(spelled: Stream[Text]) -> AsyncIterator[Text]:
        async for word in spelled:
            await asyncio.sleep(0)
            yield word

    @graph.step(when=lambda words: len(words) > 100)
    async def never(words: list[Text]) -> Text:
        raise AssertionError

    graph.first_of("some", never, "echoed")

    @graph.step(retries=3, backoff=0.001)
    async def shaky(some: Text, core: Core) -> Text:
        return await core.answer(some)

    async def longer(text: Text, core: Core) -> Text:
        return Text(text + await core.answer(text))

    graph.loop(
        longer,
        as_="long",
        reads={"text": "shaky"},
        carry={"text": "longer"},
        until=lambda longer: len(longer) > 20,
        max_rounds=30,
    )

    @graph.step
    def sync(long: Text, pages: list[Text]) -> int:
        return len(long) + len(pages)

    return graph
