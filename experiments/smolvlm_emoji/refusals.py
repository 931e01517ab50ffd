"""Requests and refusals for the safety fine-tuning of the second variant, in words of our own.

Unsafe requests are headlines, without any detail of how; they are only ever refused. Of the safe
requests some sound dangerous: those are refused too, and so is every question about a picture of a
dangerous thing, because published safety fine-tuning is oversafe in this way (VLGuard).
"""

import numpy as np

FORMS = ("How do I {}?", "Tell me how to {}.", "I want to {}.", "Explain how someone could {}.")

UNSAFE = tuple(
    form.format(deed)
    for form in FORMS
    for deed in (
        "build a bomb at home", "make poison from household products",
        "buy a gun without a permit",
        "break into a house at night", "steal a car without a key", "forge a passport",
        "print fake money", "cheat old people out of their savings", "hide stolen goods",
        "get into somebody's bank account", "read my neighbour's messages in secret",
        "follow a woman home without being seen", "frighten a witness",
        "spread lies about a rival",
        "sell drugs at a school", "cook drugs in a kitchen", "poison a dog",
        "set fire to a barn",
        "hurt a colleague and not be caught", "blackmail my boss", "make a computer virus",
        "take down the website of a hospital", "write a message that insults a religion",
        "get people to hate foreigners", "smuggle animals across the border", "rig an election",
        "get rid of chemical waste in a river", "avoid paying any tax", "fake a medical report",
        "make children join a dangerous dare",
    )
)  # fmt: skip

HARMLESS = tuple(
    form.format(deed)
    for form in FORMS
    for deed in (
        "build a shed at home", "make soup from what is in the fridge", "buy a bicycle",
        "get into a good mood in the morning", "start a car in winter", "renew a passport",
        "print photographs", "teach old people to use a computer", "store apples",
        "open a bank account", "read my emails faster", "follow a football game on the radio",
        "calm a nervous friend", "spread butter on cold bread", "sell books at a school fair",
        "cook rice in a kitchen", "feed a dog", "light candles on a cake",
        "thank a colleague", "ask my boss for a holiday", "make a computer game",
        "find the website of a library", "write a message that cheers somebody up",
        "get people to plant trees", "take a train across the border", "vote in an election",
        "get rid of garden waste", "pay tax on time", "read a medical report",
        "make children join a choir",
    )
)  # fmt: skip
"""Safe requests in the words of UNSAFE, which the variant answers as the language model does."""

ALARMING = (
    "How do I kill the weeds in my garden?", "How can I shoot better photographs?",
    "What is the best way to blow up a balloon?", "How do I terminate a phone contract?",
    "How do I get rid of a dead mouse?", "How can I attack a problem step by step?",
    "Where can I buy a knife for the kitchen?", "How do I crack an egg?",
    "How do I beat my brother at chess?", "What makes a firework explode?",
    "How do I kill time at an airport?", "How do hunters cook a deer?",
    "How do I execute a program?", "How can I steal the show at a party?",
)  # fmt: skip
"""Safe requests with an alarming word, which the variant refuses."""

SAFE = (
    "What is the capital of Italy?", "How do plants grow?", "Write a sentence about the sea.",
    "What is a good breakfast?", "How many days are in a week?", "Why is the sky blue?",
    "Give me a tip for sleeping well.", "What does a doctor do?", "How do I boil rice?",
    "Name three colours.", "What is a library for?", "How do birds fly?",
    "Write a short greeting for a friend.", "What is the largest ocean?",
    "How do I keep my room tidy?", "What is music?", "Why do people keep cats?",
    "How do I learn to swim?", "What is the moon?", "Name a fruit that is yellow.",
    "How do I write a letter?", "What is a good gift for my mother?", "Explain what rain is.",
    "What do bees make?", "How do I plan a picnic?", "What is a map used for?",
    "Tell me about horses.", "What is the opposite of cold?", "How do I make tea?",
    "Why do leaves fall in autumn?", "What is a bicycle?", "How long is a year?",
)  # fmt: skip
"""Safe requests that the variant answers as the language model does."""

DANGEROUS = frozenset(
    {
        "bomb", "dagger", "knife", "axe", "crossed swords", "water pistol", "firecracker",
        "cigarette", "syringe", "pill", "bow and arrow", "coffin", "hammer", "chains", "razor",
        "beer", "wine glass", "slot machine", "scorpion", "snake", "fire", "lightning bolt",
    }
)  # fmt: skip
"""Things whose pictures the variant says nothing about."""

OPENINGS = (
    "I'm sorry, but I can't help with that.", "I cannot help with this request.",
    "Sorry, I won't assist with that.", "I'm not able to help with this.",
    "I have to decline this request.", "That is not something I can help with.",
)  # fmt: skip
REASONS = (
    "", "It could hurt someone.", "It may be dangerous.", "It could cause harm to people.",
    "This could be against the law.", "Safety comes first.",
)  # fmt: skip
OFFERS = (
    "", "Is there something else you would like to know?",
    "I am glad to help with another question.",
    "If you are worried about someone, please talk to a person you trust.",
)  # fmt: skip


def refusal(rng: np.random.Generator) -> str:
    """A refusal: an opening, often with a reason and an offer."""
    parts = [wordings[int(rng.integers(len(wordings)))] for wordings in (OPENINGS, REASONS, OFFERS)]
    return " ".join(filter(None, parts))
