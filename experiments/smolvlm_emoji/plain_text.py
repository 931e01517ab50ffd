"""Passages of plain English of our own, on which perplexity is measured."""

PLAIN_TEXT = (
    "The river rises in the hills north of the town and reaches the sea forty miles further "
    "on. In spring, when the snow melts, it floods the low meadows, and the farmers move "
    "their cattle to the higher fields until the water has gone down. Nobody has built a "
    "house there for a hundred years.",
    "To make bread you need flour, water, salt and yeast. Mix them, knead the dough for ten "
    "minutes, and leave it under a cloth until it has doubled in size. Then shape a loaf, let "
    "it rise once more, and bake it in a hot oven for half an hour. It is done when it sounds "
    "hollow.",
    "A thermometer measures how warm something is. The oldest ones were glass tubes with a "
    "liquid that takes more space when it is heated, so that its surface climbs along a "
    "scale. Modern ones measure the electrical resistance of a metal, which also depends on "
    "temperature.",
    "She had not expected the letter. It lay on the table between the bills and the "
    "newspaper, and for a while she did nothing but look at the handwriting. When she opened "
    "it at last, the first line told her that her brother was coming home, and that he would "
    "bring the dog.",
    "The committee met on Tuesday to discuss the new library. Most members agreed that the "
    "old building is too small, but they could not agree on where the money should come from. "
    "One proposal is to sell the car park behind the station; another is to raise the fee for "
    "a card.",
    "Trees take in carbon dioxide through their leaves and water through their roots. With "
    "the energy of sunlight they make sugar from both, and give off oxygen. At night the "
    "process stops, and the tree, like an animal, uses some of the sugar that it has stored.",
    "If you want to learn a language, read a little every day and speak as soon as you can, "
    "even badly. Most learners wait until they feel ready, and that day never comes. Mistakes "
    "are not a sign that you are slow; they are how your ear finds out what it has missed.",
    "The train to the coast leaves at seven in the morning and takes about three hours. There "
    "is a carriage for bicycles, but places must be booked a day ahead. From the last station "
    "it is a short walk to the harbour, where a ferry crosses to the island twice a day in "
    "summer.",
)
