"""Names of common things in German, French and Spanish, for questions in these languages."""

from typing import NamedTuple


class Noun(NamedTuple):
    """A noun with its definite articles: "der Hund", "die Hunde"."""

    one: str
    many: str
    feminine: bool = False
    """Spanish asks "cuántas" of these."""


def _german(row: str) -> Noun:
    article, one, many = row.split()
    return Noun(f"{article} {one}", f"die {many}")


_ELIDED = "aeiouéh"


def _french(row: str) -> Noun:
    gender, one, many = row.split(maxsplit=2)
    article = "l'" if one[0] in _ELIDED else "la " if gender == "f" else "le "
    return Noun(f"{article}{one}", f"les {many}")


def _spanish(row: str) -> Noun:
    gender, one, many = row.split(maxsplit=2)
    feminine = gender == "f"
    return Noun(
        f"{'la' if feminine else 'el'} {one}", f"{'las' if feminine else 'los'} {many}", feminine
    )


_ROWS = """
man|der Mann Männer|m homme hommes|m hombre hombres
woman|die Frau Frauen|f femme femmes|f mujer mujeres
boy|der Junge Jungen|m garçon garçons|m niño niños
girl|das Mädchen Mädchen|f fille filles|f niña niñas
child|das Kind Kinder|m enfant enfants|m niño niños
dog|der Hund Hunde|m chien chiens|m perro perros
cat|die Katze Katzen|m chat chats|m gato gatos
horse|das Pferd Pferde|m cheval chevaux|m caballo caballos
cow|die Kuh Kühe|f vache vaches|f vaca vacas
sheep|das Schaf Schafe|m mouton moutons|f oveja ovejas
bird|der Vogel Vögel|m oiseau oiseaux|m pájaro pájaros
elephant|der Elefant Elefanten|m éléphant éléphants|m elefante elefantes
zebra|das Zebra Zebras|m zèbre zèbres|f cebra cebras
giraffe|die Giraffe Giraffen|f girafe girafes|f jirafa jirafas
car|das Auto Autos|f voiture voitures|m coche coches
bus|der Bus Busse|m bus bus|m autobús autobuses
train|der Zug Züge|m train trains|m tren trenes
bicycle|das Fahrrad Fahrräder|m vélo vélos|f bicicleta bicicletas
boat|das Boot Boote|m bateau bateaux|m barco barcos
umbrella|der Regenschirm Regenschirme|m parapluie parapluies|m paraguas paraguas
chair|der Stuhl Stühle|f chaise chaises|f silla sillas
table|der Tisch Tische|f table tables|f mesa mesas
bed|das Bett Betten|m lit lits|f cama camas
sofa|das Sofa Sofas|m canapé canapés|m sofá sofás
book|das Buch Bücher|m livre livres|m libro libros
bottle|die Flasche Flaschen|f bouteille bouteilles|f botella botellas
cup|die Tasse Tassen|f tasse tasses|f taza tazas
plate|der Teller Teller|f assiette assiettes|m plato platos
apple|der Apfel Äpfel|f pomme pommes|f manzana manzanas
banana|die Banane Bananen|f banane bananes|m plátano plátanos
ball|der Ball Bälle|m ballon ballons|f pelota pelotas
tree|der Baum Bäume|m arbre arbres|m árbol árboles
flower|die Blume Blumen|f fleur fleurs|f flor flores
house|das Haus Häuser|f maison maisons|f casa casas
door|die Tür Türen|f porte portes|f puerta puertas
window|das Fenster Fenster|f fenêtre fenêtres|f ventana ventanas
shirt|das Hemd Hemden|f chemise chemises|f camisa camisas
hat|der Hut Hüte|m chapeau chapeaux|m sombrero sombreros
shape|die Form Formen|f forme formes|f forma formas
circle|der Kreis Kreise|m cercle cercles|m círculo círculos
square|das Quadrat Quadrate|m carré carrés|m cuadrado cuadrados
triangle|das Dreieck Dreiecke|m triangle triangles|m triángulo triángulos
star|der Stern Sterne|f étoile étoiles|f estrella estrellas
cross|das Kreuz Kreuze|f croix croix|f cruz cruces
"""

_READERS = {"de": _german, "fr": _french, "es": _spanish}
_CELLS = [row.split("|") for row in _ROWS.split("\n") if row]

NOUNS: dict[str, dict[str, Noun]] = {
    language: {cells[0]: read(cells[column]) for cells in _CELLS}
    for column, (language, read) in enumerate(_READERS.items(), start=1)
}
"""Nouns by language, then by the English lemma."""


def how_many(language: str, noun: Noun) -> str:
    """The question for a number."""
    many = noun.many.split(" ", 1)[1]
    if language == "de":
        return f"Wie viele {many} sind zu sehen?"
    if language == "fr":
        of = "d'" if many[0] in _ELIDED else "de "
        return f"Combien {of}{many} y a-t-il ?"
    return f"¿Cuánt{'a' if noun.feminine else 'o'}s {many} hay?"


def what_colour(language: str, noun: Noun, plural: bool) -> str:
    """The question for a colour."""
    name = noun.many if plural else noun.one
    if language == "de":
        return f"Welche Farbe {'haben' if plural else 'hat'} {name}?"
    if language == "fr":
        return f"De quelle couleur {'sont' if plural else 'est'} {name} ?"
    return f"¿De qué color {'son' if plural else 'es'} {name}?"
