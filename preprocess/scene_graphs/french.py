"""French words that the rules over Universal Dependencies know."""

from septet.preprocess.scene_graphs.language import Language, Phrase
from septet.preprocess.scene_graphs.words import words


def _phrases(text: str) -> tuple[Phrase, ...]:
    return tuple(tuple(phrase.split()) for phrase in text.replace("\n", " ").split("|"))


_ONES = (
    "zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze",
    "douze", "treize", "quatorze", "quinze", "seize",
)  # fmt: skip
_TENS = {20: "vingt", 30: "trente", 40: "quarante", 50: "cinquante", 60: "soixante"}
_OTHER_TENS = {70: "septante", 80: "huitante", 90: "nonante"}


def _below_hundred(value: int) -> str:
    if value < 17:
        return _ONES[value]
    if value < 20:
        return f"dix {_ONES[value - 10]}"
    if value >= 80:
        return f"quatre vingt {_below_hundred(value - 80)}" if value > 80 else "quatre vingts"
    tens = min(value // 10 * 10, 60)
    rest = value - tens
    if not rest:
        return _TENS[tens]
    return f"{_TENS[tens]} {'et ' if rest in (1, 11) else ''}{_below_hundred(rest)}"


def said(value: int) -> str:
    """A number from 0 to 9,999 in words, with spaces for hyphens."""
    thousands, rest = divmod(value, 1000)
    hundreds, low = divmod(rest, 100)
    found = []
    if thousands:
        found += ["mille"] if thousands == 1 else [_ONES[thousands], "mille"]
    if hundreds:
        cent = "cents" if hundreds > 1 and not low else "cent"
        found += [cent] if hundreds == 1 else [_ONES[hundreds], cent]
    if low or not value:
        found.append(_below_hundred(low))
    return " ".join(found)


def _numerals() -> dict[str, int]:
    found = {said(value): value for value in range(2, 10_000)}
    for tens, name in _OTHER_TENS.items():
        found |= {name: tens, f"{name} et un": tens + 1}
        found |= {f"{name} {_ONES[ones]}": tens + ones for ones in range(2, 10)}
    return found


FRENCH = Language(
    contractions={
        "au": "à",
        "aux": "à",
        "du": "de",
        "des": "de",
        "d'": "de",
        "d’": "de",
        "jusqu'": "jusque",
    },
    of="de",
    prepositions=words(
        """à dans sur sous devant derrière avec contre entre parmi vers chez en par à travers
        autour"""
    ),
    complex_prepositions=_phrases(
        """près de|à côté de|au milieu de|en face de|au - dessus de|au-dessus de|au - dessous de|
        au-dessous de|autour de|le long de|à l' intérieur de|à l' extérieur de|au bord de|
        au pied de|au sommet de|au centre de|en haut de|en bas de|à gauche de|à droite de|
        au - delà de|au-delà de|loin de|proche de|à travers|face à|au fond de|au bout de|
        par - dessus|par-dessus|à proximité de|en dessous de|hors de|au coin de|à l' ombre de|
        au cœur de|au large de|à bord de|aux côtés de|au - devant de|au-devant de|
        à l' entrée de|à l' arrière de|à l' avant de|sur le bord de|sur les bords de"""
    ),
    purpose=words("à en"),
    states=words("en"),
    agents=words("par"),
    media=words(
        """photo photographie image vue portrait gros-plan plan cliché dessin illustration peinture
        selfie croquis silhouette aquarelle"""
    ),
    media_before=words("montrant représentant sur"),
    quantities=words(
        """groupe paire couple foule lot ensemble série tas dizaine douzaine vingtaine trentaine
        centaine millier nombre multitude quantité troupeau rangée collection sorte type genre
        variété majorité plupart poignée bande équipe"""
    ),
    no_things=words(
        """nuit jour journée matin matinée soir soirée midi minuit été hiver printemps automne
        moment an année mois semaine heure minute seconde siècle fois temps lundi mardi mercredi
        jeudi vendredi samedi dimanche janvier février mars avril mai juin juillet août septembre
        octobre novembre décembre mètre centimètre millimètre kilomètre cm mm km m m² kg kilo
        gramme g litre l ml cl euro € dollar degré pouce taille prix vente livraison stock façon
        manière cours exemple cas fait train-train loin près milieu côté"""
    ),
    names=frozenset(
        _phrases(
            """pomme de terre|salle de bain|salle de bains|salle à manger|chemin de fer|
            coucher de soleil|lever de soleil|fer à repasser|hôtel de ville|arc en ciel|
            planche à voile|planche à roulettes|feu d' artifice|passage pour piétons|
            sac à main|sac à dos|chaussure de course|chambre à coucher|brosse à dents|
            machine à laver|rouge à lèvres|eau de toilette|rez de chaussée|chauve - souris|
            lever du soleil|coucher du soleil|sapin de noël|père noël|maillot de bain"""
        )
    ),
    no_attributes=words(
        """autre même tel certain plusieurs tout quelque seul dernier premier prochain suivant
        deuxième second troisième divers différent propre aucun nul quel chaque principal
        disponible gratuit"""
    ),
    colours=words(
        """rouge bleu vert jaune orange blanc noir gris rose violet marron brun beige turquoise
        mauve bordeaux doré argenté kaki"""
    ),
    transfers=words(
        """lancer jeter mettre poser verser pousser ranger servir envoyer tirer placer apporter
        donner déposer sortir ramener emmener amener faire monter descendre transporter charger
        décharger conduire ajouter transformer rentrer offrir livrer plonger recevoir viser
        regarder"""
    ),
    infinitives=(
        ("ouvre", "ouvrir"),
        ("ouvrent", "ouvrir"),
        ("offre", "offrir"),
        ("offrent", "offrir"),
        ("e", "er"),
        ("es", "er"),
        ("ent", "er"),
        ("é", "er"),
    ),
    regular=("er", ("é", "ée", "és", "ées")),
    irregular=(
        "i",
        "u",
        "is",
        "us",
        "os",
        "crit",
        "dit",
        "fait",
        "cuit",
        "duit",
        "truit",
        "ert",
        "aint",
        "eint",
        "oint",
        "mort",
        "clos",
    ),
    plurals=("s", "x"),
    participles=("assis", "mis", "pris", "quis", "clos", "inclus"),
    questions=words(
        """qui que qu' quel quelle quels quelles où comment pourquoi combien quand lequel laquelle
        lesquels lesquelles quoi"""
    ),
    inverted=words("-ce -je -tu -t -il -elle -on -vous -ils -elles"),
    conditions=words(
        """si s' s’ peut-être probablement éventuellement sûrement supposons imaginez imaginons
        sinon apparemment prétendument soi-disant quiconque lorsque dès"""
    ),
    condition_phrases=_phrases(
        """peut - être|peut -être|au cas où|à moins|sans doute|à condition|pourvu que|comme si|
        en cas|quand il|quand vous|quand on|dans le cas"""
    ),
    supposing=words(
        """pouvoir devoir vouloir falloir souhaiter espérer rêver désirer refuser envisager
        projeter essayer tenter prévoir chercher promettre imaginer supposer faillir éviter oublier
        empêcher arrêter cesser"""
    ),
    negations=words("ne n' n’"),
    negated=words("pas plus jamais aucun aucune rien personne point nul nulle ni guère"),
    only=words("que qu' qu’"),
    without=words(
        """sans sauf excepté hormis ni aucun aucune nul nulle zéro non pas jamais plutôt exclu"""
    ),
    without_phrases=_phrases(
        """au lieu de|plutôt que|à part|à l' exception de|à l' exclusion de|à la place de|vide de|
        vides de|"""
        + "|".join(
            f"{word}{ending} de"
            for word in ("dépourvu", "dénué", "privé", "exempt")
            for ending in ("", "e", "s", "es")
        )
    ),
    absence=words(
        """absence manque pénurie interdiction interdire interdit exempt manquer perte suppression
        exclure exclu prohibé défense"""
    ),
    contrasts=words("mais"),
    nobody=words("personne rien aucun aucune"),
    known=words(
        """le la les l' l’ ce cet cette ces mon ma mes ton ta tes son sa ses notre nos votre vos
        leur leurs"""
    ),
    numerals=_numerals(),
    numeral_words=frozenset(" ".join(_numerals()).split()) - {"un", "et"},
    about=words(
        """environ presque près plus moins quelque jusque jusqu' entre vers n° no numéro taille
        page chapitre niveau étage maximum minimum autour + - – ~ € $ x %"""
    ),
    joined=words("- – , et ou à / x sur"),
)

LANGUAGES: dict[str, Language] = {"fr": FRENCH}
"""By ISO 639 code."""
