"""Scenes told in five languages: captions, phrases that name one thing, and questions.

Every language says the same of a scene, in its own grammar (gender, case, order, counting words),
so that a model's command of a language can be measured with exact labels. Answers to questions are
English, as in PaLI's question answering (Chen et al. 2022, appendix A.2).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from septet.preprocess.questions.pairs import Question
from septet.preprocess.synthetic.scenes import Scene, Thing, captions, first_relation, on_side

NUMBERS = ("no", "one", "two", "three", "four")


class Wording(ABC):
    """The words and grammar by which a language tells of things."""

    relations: ClassVar[Mapping[str, str]]
    more: str
    """The words that lead to a further thing in a caption."""
    color: str
    size: str
    count: str
    """Questions; `{thing}` is a thing's definite name."""

    @abstractmethod
    def a(self, thing: Thing, after: bool = False) -> str:
        """An indefinite name with size, colour and shape; `after` a relation it may differ."""

    @abstractmethod
    def the(self, thing: Thing, color: bool = True, size: bool = False) -> str:
        """A definite name: by its shape, and what else is asked for."""

    def related(self, subject: str, relation: str, other: str) -> str:
        """A thing in a relation to another."""
        return f"{subject} {self.relations[relation]} {other}"

    def only(self, thing: Thing) -> str:
        """The caption of a scene of one thing."""
        return self.a(thing)

    def phrase(self, thing: Thing, relation: str, other: Thing) -> str:
        """A definite name of a thing by its shape and its relation to another."""
        return self.related(self.the(thing, color=False), relation, self.the(other))


class English(Wording):
    """English."""

    relations: ClassVar = {name: name for name in ("left of", "right of", "above", "below")}
    more = ", and also "
    color, size = "what color is {thing}?", "how large is {thing}?"
    count = "how many shapes are there?"

    def a(self, thing: Thing, after: bool = False) -> str:
        """See `Wording.a`."""
        return f"a {thing.name}"

    def the(self, thing: Thing, color: bool = True, size: bool = False) -> str:
        """See `Wording.the`."""
        words = [thing.size] * size + [thing.colour] * color + [thing.shape]
        return "the " + " ".join(words)

    def only(self, thing: Thing) -> str:
        """See `Wording.only`."""
        return f"a picture of {self.a(thing)}"


class Gendered(Wording):
    """A language of Europe: nouns have a gender, adjectives agree with it."""

    nouns: ClassVar[Mapping[str, tuple[str, str]]]
    """Gender (m, f, n) and noun of a shape."""
    adjectives: ClassVar[Mapping[str, str]]
    """The adjectives of sizes and colours: the masculine, or `masculine/feminine`."""

    def adjective(self, name: str, gender: str) -> str:
        """The form that agrees with a gender."""
        masculine, _, feminine = self.adjectives[name].partition("/")
        return feminine if gender == "f" and feminine else masculine


class German(Gendered):
    """German: nominative first, dative after a relation."""

    nouns: ClassVar = {
        "circle": ("m", "Kreis"), "square": ("n", "Quadrat"), "triangle": ("n", "Dreieck"),
        "diamond": ("f", "Raute"), "cross": ("n", "Kreuz"), "star": ("m", "Stern"),
    }  # fmt: skip
    adjectives: ClassVar = {
        "small": "klein", "large": "groß", "red": "rot", "green": "grün", "blue": "blau",
        "yellow": "gelb", "purple": "violett", "orange": "orangefarben", "white": "weiß",
        "black": "schwarz",
    }  # fmt: skip
    relations: ClassVar = {
        "left of": "links von", "right of": "rechts von", "above": "über", "below": "unter",
    }  # fmt: skip
    more = ", außerdem "
    color, size = "welche Farbe hat {thing}?", "wie groß ist {thing}?"
    count = "wie viele Formen sind zu sehen?"

    def _name(self, thing: Thing, article: str, ending: str, parts: Sequence[str]) -> str:
        stems = [self.adjectives[part] + ending for part in parts]
        return " ".join([article, *stems, self.nouns[thing.shape][1]])

    def a(self, thing: Thing, after: bool = False) -> str:
        """See `Wording.a`."""
        gender = self.nouns[thing.shape][0]
        if after:
            article, ending = ("einer" if gender == "f" else "einem"), "en"
        else:
            article = "eine" if gender == "f" else "ein"
            ending = {"m": "er", "f": "e", "n": "es"}[gender]
        return self._name(thing, article, ending, (thing.size, thing.colour))

    def the(self, thing: Thing, color: bool = True, size: bool = False, after: bool = False) -> str:
        """See `Wording.the`."""
        gender = self.nouns[thing.shape][0]
        nominative, dative = {"m": ("der", "dem"), "f": ("die", "der"), "n": ("das", "dem")}[gender]
        parts = [thing.size] * size + [thing.colour] * color
        article, ending = (dative, "en") if after else (nominative, "e")
        return self._name(thing, article, ending, parts)

    def phrase(self, thing: Thing, relation: str, other: Thing) -> str:
        """See `Wording.phrase`."""
        subject = self.the(thing, color=False)
        return self.related(subject, relation, self.the(other, after=True))


class French(Gendered):
    """French: size before the noun, colour behind it; `de un` becomes `d'un`."""

    nouns: ClassVar = {
        "circle": ("m", "cercle"), "square": ("m", "carré"), "triangle": ("m", "triangle"),
        "diamond": ("m", "losange"), "cross": ("f", "croix"), "star": ("f", "étoile"),
    }  # fmt: skip
    adjectives: ClassVar = {
        "small": "petit/petite", "large": "grand/grande", "red": "rouge", "green": "vert/verte",
        "blue": "bleu/bleue", "yellow": "jaune", "purple": "violet/violette", "orange": "orange",
        "white": "blanc/blanche", "black": "noir/noire",
    }  # fmt: skip
    relations: ClassVar = {
        "left of": "à gauche de", "right of": "à droite de",
        "above": "au-dessus de", "below": "au-dessous de",
    }  # fmt: skip
    more = ", et aussi "
    color, size = "de quelle couleur est {thing} ?", "de quelle taille est {thing} ?"
    count = "combien de formes y a-t-il ?"

    def a(self, thing: Thing, after: bool = False) -> str:
        """See `Wording.a`."""
        gender, noun = self.nouns[thing.shape]
        size, colour = (self.adjective(word, gender) for word in (thing.size, thing.colour))
        return f"{'une' if gender == 'f' else 'un'} {size} {noun} {colour}"

    def the(self, thing: Thing, color: bool = True, size: bool = False) -> str:
        """See `Wording.the`."""
        gender, noun = self.nouns[thing.shape]
        words = [self.adjective(thing.size, gender)] * size + [noun]
        words += [self.adjective(thing.colour, gender)] * color
        if words[0][0] in "aeiouéh":
            return "l'" + " ".join(words)
        return ("la " if gender == "f" else "le ") + " ".join(words)

    def related(self, subject: str, relation: str, other: str) -> str:
        """See `Wording.related`."""
        if other.startswith("le "):  # de + le
            return f"{subject} {self.relations[relation].removesuffix('de')}du {other[3:]}"
        if other.startswith("un"):
            return f"{subject} {self.relations[relation].removesuffix('e')}'{other}"
        return super().related(subject, relation, other)


class Spanish(Gendered):
    """Spanish: colour and size behind the noun; `de el` becomes `del`."""

    nouns: ClassVar = {
        "circle": ("m", "círculo"), "square": ("m", "cuadrado"), "triangle": ("m", "triángulo"),
        "diamond": ("m", "rombo"), "cross": ("f", "cruz"), "star": ("f", "estrella"),
    }  # fmt: skip
    adjectives: ClassVar = {
        "small": "pequeño/pequeña", "large": "grande", "red": "rojo/roja", "green": "verde",
        "blue": "azul", "yellow": "amarillo/amarilla", "purple": "morado/morada",
        "orange": "naranja", "white": "blanco/blanca", "black": "negro/negra",
    }  # fmt: skip
    relations: ClassVar = {
        "left of": "a la izquierda de", "right of": "a la derecha de",
        "above": "encima de", "below": "debajo de",
    }  # fmt: skip
    more = ", y también "
    color, size = "¿de qué color es {thing}?", "¿de qué tamaño es {thing}?"
    count = "¿cuántas formas hay?"

    def _words(self, thing: Thing, color: bool, size: bool) -> str:
        gender, noun = self.nouns[thing.shape]
        parts = [thing.colour] * color + [thing.size] * size
        return " ".join([noun, *(self.adjective(part, gender) for part in parts)])

    def a(self, thing: Thing, after: bool = False) -> str:
        """See `Wording.a`."""
        article = "una" if self.nouns[thing.shape][0] == "f" else "un"
        return f"{article} {self._words(thing, True, True)}"

    def the(self, thing: Thing, color: bool = True, size: bool = False) -> str:
        """See `Wording.the`."""
        article = "la" if self.nouns[thing.shape][0] == "f" else "el"
        return f"{article} {self._words(thing, color, size)}"

    def related(self, subject: str, relation: str, other: str) -> str:
        """See `Wording.related`."""
        if other.startswith("el "):
            return f"{subject} {self.relations[relation]}l {other[3:]}"
        return super().related(subject, relation, other)


class Chinese(Wording):
    """Chinese (simplified): no blanks, a counting word before each name, the relation behind."""

    words: ClassVar = {
        "circle": "圆形", "square": "正方形", "triangle": "三角形", "diamond": "菱形",
        "cross": "十字形", "star": "星形", "small": "小", "large": "大", "red": "红色",
        "green": "绿色", "blue": "蓝色", "yellow": "黄色", "purple": "紫色", "orange": "橙色",
        "white": "白色", "black": "黑色",
    }  # fmt: skip
    relations: ClassVar = {"left of": "左边", "right of": "右边", "above": "上方", "below": "下方"}
    more = "，还有"
    color, size = "{thing}是什么颜色？", "{thing}有多大？"
    count = "图中有几个形状？"

    def a(self, thing: Thing, after: bool = False) -> str:
        """See `Wording.a`."""
        size, colour, shape = (self.words[x] for x in (thing.size, thing.colour, thing.shape))
        return f"一个{size}的{colour}{shape}"

    def the(self, thing: Thing, color: bool = True, size: bool = False) -> str:
        """See `Wording.the`."""
        parts = [f"{self.words[thing.size]}的"] * size + [self.words[thing.colour]] * color
        return "".join([*parts, self.words[thing.shape]])

    def related(self, subject: str, relation: str, other: str) -> str:
        """See `Wording.related`."""
        return f"{subject}在{other}的{self.relations[relation]}"

    def phrase(self, thing: Thing, relation: str, other: Thing) -> str:
        """See `Wording.phrase`."""
        return f"{self.the(other)}{self.relations[relation]}的{self.the(thing, color=False)}"


WORDINGS: dict[str, Wording] = {
    "en": English(), "de": German(), "fr": French(), "es": Spanish(), "zh": Chinese(),
}  # fmt: skip
"""The wordings by ISO 639 code."""


def wording(language: str) -> Wording:
    """The wording of a language.

    Raises:
        ValueError: scenes are not told in that language.
    """
    if language not in WORDINGS:
        raise ValueError(f"scenes are told in {', '.join(WORDINGS)}; found {language!r}")
    return WORDINGS[language]


def caption(scene: Scene, language: str = "en") -> str:
    """Make the caption that tells the most: one relation, and what else there is.

    In English it is the first of `scenes.captions`; the other languages say the same.
    """
    told = wording(language)
    if language == "en":
        return captions(scene)[0]
    found, things = first_relation(scene), scene.things
    if found is None:
        return told.only(things[0])
    i, relation, j = found
    rest = [thing for k, thing in enumerate(things) if k not in (i, j)]
    begin = told.related(told.a(things[i]), relation, told.a(things[j], after=True))
    return begin + "".join(told.more + told.a(thing) for thing in rest)


def phrases(scene: Scene, language: str = "en") -> list[tuple[str, int]]:
    """Make the names that fit exactly one thing of a scene, with the thing's position in `things`.

    By colour and shape; by shape alone where no other thing has it; by shape and a relation to
    another thing, where only the relation tells things of one shape apart. A thing that is on that
    side by too little to say so is a rival too: whoever looks at the image may see it there.
    """
    told, things, found = wording(language), scene.things, []
    shapes = [thing.shape for thing in things]
    for k, thing in enumerate(things):
        found.append((told.the(thing), k))
        if shapes.count(thing.shape) == 1:
            found.append((told.the(thing, color=False), k))
            continue
        alike = [other for other in things if other.shape == thing.shape]
        for i, relation, j in scene.relations():
            if i != k or things[j].shape == thing.shape:
                continue
            if sum(on_side(other, relation, things[j]) for other in alike) == 1:
                found.append((told.phrase(thing, relation, things[j]), k))
                break
    return found


def questions(scene: Scene, language: str = "en") -> list[Question]:
    """Make questions about a scene in a language, with English answers; each has exactly one
    answer."""
    told, things = wording(language), scene.things
    found = [Question(told.count, NUMBERS[len(things)], "number", language)]
    shapes = [thing.shape for thing in things]
    for thing in things:
        full = told.the(thing)
        found.append(Question(told.size.format(thing=full), thing.size, "size", language))
        if shapes.count(thing.shape) == 1:
            asked = told.color.format(thing=told.the(thing, color=False))
            found.append(Question(asked, thing.colour, "color", language))
    return found
