"""Writes the compact WordNet that ships with the package: `jaxinterp/metrics/wordnet/nouns.tsv` and its licence.

It holds the hypernym closure of the 1 000 ILSVRC synsets, of every physical sense of the nouns in `NOUNS` and of the
synsets given by `--also`, one synset a line: wnid, lemmas, hypernym wnids, ILSVRC class number (empty for the rest).
Hypernyms and instance hypernyms both count. A wnid is "n" and the 8-digit byte offset of the synset in WordNet 3.0's
`data.noun`.

    python scripts/make_wordnet.py --wordnet /usr/share/wordnet

The folder is that of WordNet 3.0 (Debian: wordnet-base). Without `--ilsvrc` the 1 000 classes are taken from the file
that ships already, so the same file comes out again.
"""

import argparse
import pathlib
import re
import sys

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "jaxinterp" / "metrics" / "wordnet"
PHYSICAL = {"05", "06", "08", "13", "17", "18", "20", "27"}
"""Lexicographer files: animal, artifact, body, food, object, person, plant, substance."""

NUM_SENSES = 4
"""Senses kept of each noun, the physical ones among the first so many of all its senses."""

NOUN_LIST = """
dog cat horse cow bull ox sheep goat pig deer elk moose camel donkey mule zebra giraffe elephant rhinoceros hippopotamus
lion tiger leopard cheetah jaguar bear panda wolf fox raccoon skunk otter beaver badger weasel rabbit hare squirrel
chipmunk hamster mouse rat shrew mole porcupine hedgehog possum kangaroo koala monkey chimpanzee gorilla bat whale
dolphin seal walrus bird owl eagle hawk falcon parrot penguin duck goose swan hen rooster chicken turkey pigeon crow
sparrow robin flamingo peacock ostrich pelican stork heron gull hummingbird woodpecker fish shark ray trout flatfish
goldfish salmon seahorse eel frog toad salamander turtle tortoise snake lizard crocodile alligator dinosaur insect
butterfly moth bee wasp ant beetle ladybug fly mosquito dragonfly grasshopper cricket cockroach caterpillar spider
scorpion crab lobster shrimp snail slug worm octopus squid jellyfish starfish coral clam shell animal mammal reptile
car automobile truck pickup bus van taxi ambulance tractor bulldozer tank motorcycle bicycle tricycle scooter cart
wagon carriage train locomotive streetcar tram subway airplane helicopter balloon rocket boat ship sailboat canoe
yacht submarine ferry raft sled skateboard vehicle wheel tire propeller anchor
tree oak maple palm pine willow fir birch flower rose tulip orchid poppy sunflower daisy lily mushroom cactus fern
grass bush shrub leaf moss ivy bamboo weed plant herb vine clover
chair table desk sofa couch bed bench stool wardrobe cabinet bookcase shelf dresser cradle lamp chandelier candle
lantern clock watch mirror carpet rug curtain pillow blanket door window gate fence ladder stairs
cup mug glass bottle bowl plate pot pan kettle teapot jug pitcher vase jar can box basket bucket barrel bag backpack
suitcase fork knife spoon chopstick toaster oven stove refrigerator microwave dishwasher broom mop brush iron
telephone television computer keyboard monitor laptop mouse printer radio camera speaker microphone headphone
calculator remote typewriter book newspaper envelope pen pencil crayon ruler scissors stapler eraser
hammer saw screwdriver wrench drill axe shovel rake hoe pliers nail screw rope chain key lock padlock hook
guitar piano violin cello drum trumpet flute harp accordion saxophone bell whistle
shirt trouser jean skirt dress coat jacket sweater hat cap helmet crown shoe boot sandal sock glove mitten scarf
tie belt umbrella parasol purse necklace ring bracelet earring button zipper pocket glasses sunglasses mask
apple orange banana pear lemon lime strawberry grape pineapple cherry peach plum mango watermelon melon tomato potato
carrot pepper cucumber cabbage lettuce broccoli cauliflower onion garlic corn pea bean pumpkin bread cake pie cookie
doughnut pizza sandwich hamburger hotdog cheese egg milk pretzel bagel chocolate candy soup
house building cottage castle church mosque temple palace tower skyscraper barn shed tent igloo windmill lighthouse
bridge dam fountain well wall roof chimney road street sidewalk pavement railroad traffic_light traffic_signal
street_sign mailbox hydrant statue monument
mountain hill valley volcano cliff rock stone sea ocean lake river beach island plain forest desert cloud sky sun
moon star snow ice sand
person man woman boy girl baby child head face hair eye ear nose mouth lip tooth tongue neck shoulder arm elbow
hand finger thumb leg knee foot toe tail wing feather beak bill horn antler claw paw hoof mane fin trunk body skin
ball football basketball kite doll teddy puppet top dice domino puzzle swing slide racket bat ski surfboard
robot gun cannon sword shield bow arrow spear flag wheelchair crutch syringe stethoscope thermometer telescope
microscope magnet battery lightbulb spotlight switch plug pipe faucet bathtub shower sink toilet towel soap comb
toothbrush anvil wand crane gear spring
lawn_mower cattle sweet_pepper oak_tree palm_tree pine_tree willow_tree electric_lamp hot-air_balloon
light_bulb fire_engine fire_truck garbage_truck school_bus teddy_bear tennis_ball soccer_ball snowman scarecrow
"""
NOUNS = NOUN_LIST.split()


def read_synset(data: bytes, offset: int) -> tuple[str, list[str], list[int]]:
    """(lexicographer file, lemmas, hypernym and instance-hypernym offsets) of the synset at that byte."""
    fields = data[offset : data.index(b"|", offset)].decode("latin-1").split()
    if int(fields[0]) != offset:
        raise SystemExit(f"expected a synset at byte {offset}; is this the data.noun of WordNet 3.0?")
    words = int(fields[3], 16)
    lemmas = fields[4 : 4 + 2 * words : 2]
    start = 4 + 2 * words
    pointers = [fields[start + 1 + 4 * i : start + 5 + 4 * i] for i in range(int(fields[start]))]
    return fields[1], lemmas, [int(target) for symbol, target, kind, _ in pointers if symbol in ("@", "@i") and kind == "n"]


def read_index(path: pathlib.Path) -> dict[str, list[int]]:
    """Noun -> offsets of all its senses, the most frequent first."""
    senses = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            senses[fields[0]] = [int(offset) for offset in fields[-int(fields[2]) :]]
    return senses


def ilsvrc_classes(path: pathlib.Path) -> list[str]:
    """The 1 000 wnids in class order: of a table (index, wnid, ...), of a list of wnids, or of the shipped file."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    if path.name == "nouns.tsv":
        return [row[0] for row in sorted((row for row in rows if row[3]), key=lambda row: int(row[3]))]
    firsts = [[field for field in row if re.fullmatch(r"n\d{8}", field)][:1] for row in rows]
    return [wnid for first in firsts for wnid in first]


def main() -> None:
    """Reads WordNet 3.0 and writes the two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", type=pathlib.Path, default=pathlib.Path("/usr/share/wordnet"), help="folder of data.noun")
    parser.add_argument("--ilsvrc", type=pathlib.Path, default=PACKAGE / "nouns.tsv", help="table of the 1 000 classes")
    parser.add_argument("--also", nargs="*", default=[], help="further wnids")
    parser.add_argument("--out", type=pathlib.Path, default=PACKAGE, help="folder to write")
    args = parser.parse_args()
    data = (args.wordnet / "data.noun").read_bytes()
    senses = read_index(args.wordnet / "index.noun")

    classes = ilsvrc_classes(args.ilsvrc)
    if len(classes) != 1000 or len(set(classes)) != 1000:
        raise SystemExit(f"expected 1 000 different wnids in {args.ilsvrc}, got {len(set(classes))}.")
    todo = [int(wnid[1:]) for wnid in [*classes, *args.also]]
    for noun in NOUNS:
        for offset in senses.get(noun, [])[:NUM_SENSES]:
            lexicographer, lemmas, _ = read_synset(data, offset)
            if lexicographer in PHYSICAL and lemmas[0][0].islower():
                todo.append(offset)
    synsets: dict[int, tuple[list[str], list[int]]] = {}
    while todo:
        offset = todo.pop()
        if offset not in synsets:
            _, lemmas, parents = read_synset(data, offset)
            synsets[offset] = lemmas, parents
            todo += parents

    number = {int(wnid[1:]): i for i, wnid in enumerate(classes)}
    lines = ["# WordNet 3.0 nouns; see LICENSE.txt. wnid, lemmas, hypernyms, ILSVRC class"]
    for offset in sorted(synsets):
        lemmas, parents = synsets[offset]
        fields = [f"n{offset:08d}", " ".join(lemmas), " ".join(f"n{parent:08d}" for parent in parents)]
        lines.append("\t".join([*fields, str(number.get(offset, ""))]))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "nouns.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    header = [line for line in data[:4000].decode("latin-1").splitlines() if re.match(r" {2}\d* ?", line)]
    notice = "\n".join(re.sub(r"^ *\d+ ?", "", line).rstrip() for line in header)
    (args.out / "LICENSE.txt").write_text(notice.strip() + "\n", encoding="utf-8")
    missing = [noun for noun in NOUNS if noun not in senses]
    print(f"{len(synsets)} synsets, {len(NOUNS)} nouns, not in WordNet: {' '.join(missing) or 'none'}", file=sys.stderr)


if __name__ == "__main__":
    main()
