"""Plain names of the things that emoji show, and the 200 common ones of the evaluation."""

_COMMON = """
monkey, gorilla, dog, wolf, fox, raccoon, cat, lion, tiger, horse, zebra, deer, cow, pig, goat,
camel, llama, giraffe, elephant, rhinoceros, mouse, hamster, rabbit, hedgehog, bat, bear, koala,
panda, kangaroo, turkey, chicken, rooster, bird, penguin, dove, eagle, duck, swan, owl, parrot,
peacock, flamingo, frog, crocodile, turtle, lizard, snake, dragon, whale, dolphin, shark, octopus,
crab, lobster, shrimp, squid, snail, butterfly, ant, bee, ladybug, spider, scorpion, mosquito, fish,
rose, sunflower, tulip, cactus, mushroom, grapes, watermelon, lemon, banana, pineapple, mango,
apple, pear, peach, cherries, strawberry, blueberries, kiwi, tomato, coconut, avocado, eggplant,
potato, carrot, corn, cucumber, broccoli, garlic, onion, bread, croissant, pretzel, bagel, pancakes,
waffle, cheese, bacon, hamburger, french fries, pizza, hot dog, sandwich, taco, burrito, egg,
popcorn, sushi, ice cream, doughnut, cookie, birthday cake, pie, candy, lollipop, teapot, wine
glass, chopsticks, spoon, knife, volcano, mountain, house, castle, church, tent, ferris wheel, bus,
ambulance, fire truck, taxi, car, tractor, motorcycle, bicycle, skateboard, traffic light, stop
sign, anchor, sailboat, ship, airplane, helicopter, rocket, alarm clock, watch, rainbow, umbrella,
snowflake, snowman, fire, sun, star, cloud, balloon, trophy, soccer ball, baseball, basketball,
kite, teddy bear, glasses, sunglasses, necktie, scarf, socks, dress, backpack, crown, top hat,
lipstick, ring, bell, microphone, radio, saxophone, trumpet, guitar, violin, drum, telephone,
battery, laptop, television, camera, candle, light bulb, book, envelope, pencil, scissors, key,
hammer, axe, bomb, shield
"""
COMMON = tuple(" ".join(name.split()) for name in _COMMON.split(","))
"""200 common things with a drawing in every style."""

PLAIN = {
    "red apple": "apple", "kiwi fruit": "kiwi", "ear of corn": "corn", "cheese wedge": "cheese",
    "honeybee": "bee", "lady beetle": "ladybug", "kitchen knife": "knife", "honey pot": "honey",
    "glass of milk": "milk", "beer mug": "beer", "green salad": "salad", "hot beverage": "coffee",
    "chocolate bar": "chocolate", "fire engine": "fire truck", "automobile": "car",
    "oncoming automobile": "car", "oncoming taxi": "taxi", "oncoming bus": "bus",
    "oncoming police car": "police car", "horizontal traffic light": "traffic light",
    "vertical traffic light": "traffic light", "open book": "book", "closed book": "book",
    "green book": "book", "blue book": "book", "orange book": "book", "carpentry saw": "saw",
    "spouting whale": "whale", "baby chick": "chick", "front-facing baby chick": "chick",
    "hatching chick": "chick", "sun with face": "sun", "full moon face": "full moon",
    "new moon face": "new moon", "first quarter moon face": "quarter moon",
    "last quarter moon face": "quarter moon", "first quarter moon": "quarter moon",
    "last quarter moon": "quarter moon", "two-hump camel": "camel", "umbrella with rain drops":
    "umbrella", "umbrella on ground": "umbrella", "closed umbrella": "umbrella", "glowing star":
    "star", "snowman without snow": "snowman", "tropical fish": "fish", "camera with flash":
    "camera", "musical keyboard": "piano", "couch and lamp": "couch", "game die": "die",
    "wrapped gift": "gift", "pool 8 ball": "billiard ball", "sport utility vehicle": "jeep",
    "articulated lorry": "lorry", "studio microphone": "microphone", "headphone": "headphones",
    "evergreen tree": "fir tree", "sheaf of rice": "rice", "four leaf clover": "clover",
    "snow-capped mountain": "mountain", "mount fuji": "mountain", "small airplane": "airplane",
    "house with garden": "house", "derelict house": "old house", "ewe": "sheep", "soft ice cream":
    "ice cream", "baguette bread": "baguette", "roll of paper": "toilet paper", "game of chess":
    "chess", "chess pawn": "pawn", "ringed planet": "planet", "mobile phone": "phone",
    "nut and bolt": "bolt", "bellhop bell": "bell", "magnifying glass tilted left":
    "magnifying glass", "magnifying glass tilted right": "magnifying glass", "optical disk": "disk",
    "floppy disk": "floppy disk", "straight ruler": "ruler", "triangular ruler": "ruler",
    "hourglass done": "hourglass", "hourglass not done": "hourglass", "military medal": "medal",
    "sports medal": "medal", "postbox": "mailbox", "closed mailbox with raised flag": "mailbox",
    "closed mailbox with lowered flag": "mailbox", "open mailbox with raised flag": "mailbox",
    "open mailbox with lowered flag": "mailbox", "adhesive bandage": "bandage", "old key": "key",
    "carousel horse": "carousel", "american football": "football", "rugby football": "football",
    "foggy": "fog", "locked": "lock", "unlocked": "open lock", "locked with pen": "lock with a pen",
    "locked with key": "lock with a key", "meat on bone": "meat", "cut of meat": "steak",
    "cooked rice": "bowl of rice", "canned food": "tin can", "pouring liquid": "jug",
    "construction": "barrier", "building construction": "building site", "high voltage":
    "lightning bolt", "goal net": "goal", "gem stone": "gem", "sewing needle": "needle",
    "flag in hole": "golf course", "bowl with spoon": "bowl and spoon", "white cane": "cane",
    "black nib": "nib", "electric plug": "plug", "leafy green": "lettuce", "link": "chain link",
    "bullseye": "target", "wedding": "wedding chapel", "pick": "pickaxe", "metro": "subway train",
    "light rail": "tram", "tram car": "tram", "memo": "note", "cricket game": "cricket bat",
    "tennis": "tennis racket", "badminton": "badminton racket", "lacrosse": "lacrosse stick",
    "ping pong": "table tennis bat", "field hockey": "hockey stick", "ice hockey": "hockey stick",
    "bowling": "bowling ball", "camping": "campsite", "cooking": "frying pan",
    "timer clock": "timer",
    "mantelpiece clock": "clock", "beverage box": "juice box", "herb": "herbs", "mate": "mate tea",
    "tear-off calendar": "calendar", "spiral calendar": "calendar", "spiral notepad": "notepad",
}  # fmt: skip
"""Unicode's names, and ours where ours is plainer. Names that end in "face" lose that word."""

LEFT_OUT = ("o’clock", "thirty", "Japanese", "love hotel", "hamsa", "kaaba")
"""Parts of names of emoji that are not used: clock faces, and things that few people know."""

_MASS = """
bacon, badminton, beer, bowling, bread, broccoli, butter, camping, candy, cheese, chocolate, coffee,
confetti, cooking, coral, corn, curry rice, dna, field hockey, fire, fog, garlic, ginger, herb,
honey, ice, ice hockey, lacrosse, lipstick, luggage, maracas, mate, meat, milk, money, money with
wings, night with stars, oden, ping pong, popcorn, rice, sake, salad, salt, skis, soap, spaghetti,
sunrise over mountains, sushi, tennis, thread, toilet paper, wind, wood, yarn
"""
MASS = frozenset(" ".join(name.split()) for name in _MASS.split(","))
"""Names without an article."""
NOT_PLURAL = ("ss", "us", "is")
"""Endings of singular names that end in s."""
SINGULAR = frozenset(["rhinoceros", "canvas"])
"""Further singular names that end in s."""


def plain_name(name: str) -> str:
    """Our name of a thing, from Unicode's."""
    return PLAIN.get(name, name).removesuffix(" face")


def phrase(name: str) -> str:
    """The name as a noun phrase: "a dog", "an apple", "grapes", "bread"."""
    if name in MASS or is_plural(name):
        return name
    vowel = name.startswith(("a", "e", "i", "o", "u", "hour", "x-")) and not name.startswith(
        ("uni", "ute", "euro", "one-")
    )
    return f"{'an' if vowel else 'a'} {name}"


def is_plural(name: str) -> bool:
    """Whether a name takes a plural verb: "grapes", "scissors", "musical notes"."""
    last = name.split()[-1]
    return last.endswith("s") and not last.endswith(NOT_PLURAL) and last not in SINGULAR
