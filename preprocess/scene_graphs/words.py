"""Closed classes of English words that the rules know."""


def words(text: str) -> frozenset[str]:
    """The words of a text, between spaces."""
    return frozenset(text.split())


MEDIA = words(
    """picture photo photograph image view shot close-up closeup close portrait illustration
    drawing painting sketch silhouette footage screenshot snapshot depiction rendering
    watercolor watercolour cartoon vector clipart selfie"""
)
"""Words that, followed by "of", name the image and not what is in it: they give no object."""

QUANTITIES = words(
    """lot lots couple pair group bunch number variety array row series set assortment collection
    crowd herd flock team dozen dozens hundred hundreds thousand thousands plenty handful majority
    range type kind sort"""
)
"""Words that, followed by "of", say how many: they give no object, and what follows takes their
place."""

QUANTIFIERS = words(
    """other own same such more most much less least another else whole entire only certain
    next last further"""
)
"""Adjectives by tag that describe nothing that can be seen: dropped like determiners."""

COLOURS = words(
    """red green blue yellow purple orange white black brown grey gray pink beige turquoise teal
    violet golden silver tan maroon navy cream"""
)
"""Words that describe although taggers may call them nouns."""

NOTHING = words("nobody nothing none noone nowhere neither")
"""Words that stand for no thing."""

INVARIANT = words(
    """people sheep fish deer aircraft police cattle salmon bison moose shrimp trout swine
    offspring series species spacecraft poultry buffalo elk squid cod tuna"""
)
"""Nouns whose plural has no ending."""

COPULAS = words(
    """be look seem appear become feel taste smell sound stay remain keep get turn grow"""
)
"""Verbs that link a subject with an adjective."""

CATENATIVES = words(
    """try attempt prepare begin start continue go get want wait seem appear like help be plan
    come learn have need use see show"""
)
"""Verbs whose action is said by the verb that follows: "trying to catch a ball"."""

COMPLEX_PREPOSITIONS = tuple(
    sorted(
        (
            tuple(phrase.split())
            for phrase in """on top of|in front of|in the front of|at the front of|in back of|
            in the back of|at the back of|on the back of|on the front of|next to|close to|
            adjacent to|out of|
            in between|in the middle of|in the center of|in the centre of|at the center of|
            at the centre of|on the side of|at the side of|by the side of|to the side of|
            on the edge of|at the edge of|along the edge of|on the other side of|
            on either side of|on each side of|on both sides of|to the left of|to the right of|
            on the left of|on the right of|on the left side of|on the right side of|left of|
            right of|at the top of|on the top of|to the top of|from the top of|
            at the bottom of|on the bottom of|
            at the end of|at the foot of|at the base of|in the corner of|on the corner of|
            in the shape of|in the form of|away from|across from|up to|up from|down from|
            off of|along with|together with|because of|instead of|inside of|outside of|
            underneath of|ahead of|in addition to|far from|near to|from behind|from under|
            from above|from below|over to|on board|as well as|such as|up against|down on|
            opposite to|on to|in to|up on|up in|down in|over by|out from|out on|out in|
            on the outskirts of|in the center|in front|close up of|close - up of|close up|
            close - up|in line with""".replace("\n", "").split("|")
        ),
        key=len,
        reverse=True,
    )
)
"""Prepositions of several words, longest first."""

PREPOSITIONS = words(
    """aboard about above across after against along alongside amid amidst among amongst around as
    at atop before behind below beneath beside besides between beyond by down during for from in
    inside into like near of off on onto opposite out outside over past round through throughout
    to toward towards under underneath up upon via with within without"""
)

NO_RELATION = frozenset(
    {
        *("such as", "as well as", "because of", "instead of", "than", "in addition to"),
        *("in front", "close up", "close - up", "close up of", "close - up of"),
    }
)
"""Prepositions that connect words, not things in an image."""
