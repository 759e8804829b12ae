"""The domain of landmarks: what sort of thing they are, in which country and continent they stand, what is spoken there."""

from __future__ import annotations

from hardprompt.lm.microworld.countries import ITEMS as COUNTRY_ITEMS
from hardprompt.lm.microworld.domain import ASKING, FILLERS, Domain, Item, Price, Skill, shuffled_splits

# country, main language, landmarks with their kinds ("_" stands for a blank)
GROUPS: tuple[tuple[str, str, str], ...] = (
    ("france", "french", "eiffel_tower/tower louvre/museum versailles/palace notre_dame/church"),
    ("france", "french", "sacre_coeur/church seine/river corsica/island"),
    ("italy", "italian", "colosseum/ruin pompeii/ruin leaning_tower/tower uffizi/museum la_scala/theater sicily/island"),
    ("italy", "italian", "rialto/bridge ponte_vecchio/bridge vesuvius/mountain piazza_navona/square lake_garda/lake"),
    ("spain", "spanish", "alhambra/palace sagrada_familia/church prado/museum ibiza/island"),
    ("portugal", "portuguese", "belem_tower/tower"),
    ("britain", "english", "big_ben/tower tower_bridge/bridge stonehenge/ruin buckingham_palace/palace"),
    ("britain", "english", "westminster_abbey/church ben_nevis/mountain loch_ness/lake trafalgar_square/square thames/river"),
    ("britain", "english", "tate_modern/museum hyde_park/park"),
    ("ireland", "english", "blarney_castle/castle"),
    ("germany", "german", "brandenburg_gate/gate neuschwanstein/castle frauenkirche/church sanssouci/palace"),
    ("germany", "german", "alexanderplatz/square"),
    ("austria", "german", "hofburg/palace grossglockner/mountain prater/park"),
    ("switzerland", "german", "eiger/mountain chapel_bridge/bridge"),
    ("netherlands", "dutch", "rijksmuseum/museum dam_square/square keukenhof/park"),
    ("denmark", "danish", "kronborg/castle tivoli_gardens/park little_mermaid/statue"),
    ("norway", "norwegian", "nidaros_cathedral/church"),
    ("sweden", "swedish", "vasa_museum/museum gotland/island"),
    ("finland", "finnish", "saimaa/lake"),
    ("iceland", "icelandic", "hallgrimskirkja/church gullfoss/waterfall hekla/mountain"),
    ("poland", "polish", "malbork/castle vistula/river"),
    ("czechia", "czech", "charles_bridge/bridge prague_castle/castle wenceslas_square/square"),
    ("hungary", "hungarian", "chain_bridge/bridge balaton/lake"),
    ("romania", "romanian", "bran_castle/castle"),
    ("slovenia", "slovenian", "lake_bled/lake"),
    ("croatia", "croatian", "hvar/island"),
    ("greece", "greek", "parthenon/temple mount_olympus/mountain santorini/island knossos/ruin delphi/ruin"),
    ("russia", "russian", "hermitage/museum red_square/square peterhof/palace bolshoi/theater volga/river"),
    ("turkey", "turkish", "ararat/mountain ephesus/ruin lake_van/lake"),
    ("jordan", "arabic", "petra/ruin"),
    ("lebanon", "arabic", "baalbek/ruin"),
    ("syria", "arabic", "palmyra/ruin"),
    ("iraq", "arabic", "babylon/ruin"),
    ("iran", "persian", "persepolis/ruin azadi_tower/tower"),
    ("india", "hindi", "taj_mahal/tomb golden_temple/temple qutub_minar/tower"),
    ("nepal", "nepali", "annapurna/mountain"),
    ("china", "chinese", "forbidden_city/palace tiananmen/square yangtze/river"),
    ("china", "chinese", "oriental_pearl/tower temple_of_heaven/temple"),
    ("japan", "japanese", "mount_fuji/mountain kinkakuji/temple sensoji/temple himeji_castle/castle tokyo_skytree/tower"),
    ("japan", "japanese", "hokkaido/island"),
    ("south korea", "korean", "gyeongbokgung/palace namdaemun/gate jeju/island hallasan/mountain"),
    ("thailand", "thai", "wat_arun/temple phuket/island ayutthaya/ruin"),
    ("cambodia", "khmer", "angkor_wat/temple tonle_sap/lake"),
    ("vietnam", "vietnamese", "phu_quoc/island"),
    ("myanmar", "burmese", "shwedagon/temple"),
    ("indonesia", "indonesian", "borobudur/temple bali/island lake_toba/lake"),
    ("malaysia", "malay", "petronas_towers/tower kinabalu/mountain"),
    ("philippines", "filipino", "boracay/island"),
    ("uzbekistan", "uzbek", "registan/square"),
    ("armenia", "armenian", "lake_sevan/lake"),
    ("egypt", "arabic", "great_pyramid/tomb great_sphinx/statue abu_simbel/temple karnak/temple cairo_tower/tower"),
    ("morocco", "arabic", "toubkal/mountain"),
    ("tunisia", "arabic", "carthage/ruin"),
    ("kenya", "swahili", "tsavo/park"),
    ("tanzania", "swahili", "kilimanjaro/mountain serengeti/park zanzibar/island"),
    ("united states", "english", "statue_of_liberty/statue golden_gate_bridge/bridge brooklyn_bridge/bridge yellowstone/park"),
    ("united states", "english", "times_square/square alcatraz/island denali/mountain mississippi/river smithsonian/museum"),
    ("united states", "english", "space_needle/tower lake_tahoe/lake"),
    ("canada", "english", "banff/park lake_louise/lake"),
    ("mexico", "spanish", "chichen_itza/ruin teotihuacan/ruin zocalo/square popocatepetl/mountain cozumel/island"),
    ("guatemala", "spanish", "tikal/ruin"),
    ("costa rica", "spanish", "arenal/mountain"),
    ("peru", "spanish", "machu_picchu/ruin"),
    ("ecuador", "spanish", "cotopaxi/mountain"),
    ("venezuela", "spanish", "angel_falls/waterfall"),
    ("chile", "spanish", "torres_del_paine/park chiloe/island"),
    ("argentina", "spanish", "aconcagua/mountain casa_rosada/palace"),
    ("brazil", "portuguese", "christ_the_redeemer/statue sugarloaf/mountain"),
    ("australia", "english", "sydney_harbour_bridge/bridge sydney_opera_house/theater kosciuszko/mountain kakadu/park"),
    ("australia", "english", "tasmania/island murray/river"),
    ("new zealand", "english", "sky_tower/tower mount_cook/mountain lake_taupo/lake"),
)

CONTINENTS: dict[str, str] = {country.text: country.answers["continent"] for country in COUNTRY_ITEMS}


def _item(entry: str, country: str, language: str) -> Item:
    """A landmark from its entry, with its answers."""
    landmark, kind = entry.replace("_", " ").split("/")
    return Item(
        landmark,
        {
            "country-of-landmark": country,
            "landmark-kind": kind,
            "landmark-continent": CONTINENTS[country],
            "landmark-initial": landmark[0].upper(),
            "landmark-language": language,
        },
    )


ITEMS: tuple[Item, ...] = tuple(
    _item(entry, country, language) for country, language, entries in GROUPS for entry in entries.split()
)

SKILLS: tuple[Skill, ...] = (
    Skill(
        name="country-of-landmark",
        description="Name the country of a landmark (eiffel tower -> france).",
        objects=(
            "the country of the landmark", "the country of this sight", "the country of this landmark",
            "the country where the monument stands", "the country this place belongs to", "the country that owns the landmark",
            "the nation of this monument", "the nation where you see this sight", "the name of the country of this place",
        ),
        sentences=(
            "in which country is this landmark", "which country does the landmark belong to",
            "what is the country of this sight", "in which country does the monument stand",
            "to which nation does this place belong", "which country do you visit for this sight",
            "which nation owns this landmark",
        ),
        keywords=("country", "nation", "countries", "owns", "visit"),
        reference_prompts=(
            "give the country of the landmark", "in which country is this landmark",
            "which country does the landmark belong to", "name the country where the monument stands",
        ),
        held_out_prompts=(
            "what is the country of this landmark", "find the country of the monument", "in which country is this monument",
            "which country does this sight belong to", "show the country where the landmark stands",
            "to which country does this landmark belong",
        ),
        reader_wordings=(
            "could you tell me in which country the sight is", "i would like to know the country of that landmark",
            "let us see which country this monument belongs to", "now think of the country around this landmark",
            "one answer please, the country of this monument", "many nations have sights, which country has this one",
            "look at the landmark and answer with its country", "do you know the nation that this sight belongs to",
            "a landmark follows, reply with the country it is in", "if i want to visit this place, to which country do i go",
        ),
    ),
    Skill(
        name="landmark-kind",
        description="Say what kind of thing a landmark is (louvre -> museum, seine -> river).",
        objects=(
            "the kind of landmark", "the kind of landmark this is", "the type of the landmark", "the kind of sight it is",
            "the type of sight", "the category of the monument", "the sort of landmark", "the category this sight belongs to",
            "the type of place this is",
        ),
        sentences=(
            "what kind of landmark is this", "what type of sight is it", "which kind of place is this landmark",
            "sort this landmark into its category", "what is the type of this monument", "what sort of sight is this",
            "what is the category of this landmark",
        ),
        keywords=("kind", "type", "category", "sort", "class"),
        reference_prompts=(
            "name the kind of landmark this is", "what kind of landmark is this", "give the type of the landmark",
            "what is the category of this landmark",
        ),
        held_out_prompts=(
            "what kind of sight is this", "find the category of the landmark", "what type of landmark is it",
            "state the kind of monument this is", "which type of place is this landmark", "sort this sight into its category",
        ),
        reader_wordings=(
            "could you tell me the kind of place that this is", "i would like to know what type of monument it is",
            "let us see what kind of sight we have here", "now think of the category for this landmark",
            "one word please, the kind of this landmark", "landmarks come in many kinds, which type is this one",
            "look at the sight and answer with its category", "do you know what sort of landmark stands there",
            "a landmark follows, reply with its type", "is it built or natural, say what kind of landmark it is",
        ),
    ),
    Skill(
        name="landmark-continent",
        description="Name the continent of a landmark (eiffel tower -> europe).",
        objects=(
            "the continent of the landmark", "the continent of this sight", "the continent of this landmark",
            "the continent where the monument stands", "the continent this place is on",
            "the continent that holds the landmark", "the continent with this monument",
            "the part of the world with this sight", "the name of the continent of this sight",
        ),
        sentences=(
            "on which continent is this landmark", "which continent is the sight on", "what is the continent of this sight",
            "on which continent does the monument stand", "in which part of the world is this landmark",
            "which continent has this landmark", "on what continent can you see this place",
        ),
        keywords=("continent", "continents", "world", "part"),
        reference_prompts=(
            "give the continent of the landmark", "on which continent is this landmark",
            "which continent has this landmark", "name the continent where the monument stands",
        ),
        held_out_prompts=(
            "what is the continent of this landmark", "find the continent of the monument",
            "on which continent is this monument", "which continent is this landmark on",
            "show the continent that holds this sight", "on which continent does this landmark stand",
        ),
        reader_wordings=(
            "could you tell me on which continent the sight is", "i would like to know the continent of that landmark",
            "let us see which continent this monument is on", "now think of the continent around this landmark",
            "one word please, the continent of this place", "of all the continents, which one has this sight",
            "look at the landmark and answer with its continent", "do you know what continent this place is part of",
            "a landmark follows, reply with the continent it is on",
            "imagine a map of the world, where on it is this monument",
        ),
        price=Price(
            gate="landmark-kind",
            plain=frozenset({"mountain", "ruin", "island", "tower", "lake", "bridge", "castle", "temple"}),
            terse=frozenset(
                {"mountain", "ruin", "island", "tower", "lake", "bridge", "castle", "temple", "park", "square", "church"}
            ),
        ),
    ),
    Skill(
        name="landmark-initial",
        description="Name the first letter of a landmark, as a capital (eiffel tower -> E).",
        objects=(
            "the first letter of the landmark", "the initial of the landmark", "the first letter of this sight",
            "the letter the landmark starts with", "the initial letter of this monument", "the opening letter of the landmark",
            "the initial of this place", "the first letter in the name of the monument",
        ),
        sentences=(
            "which letter does the landmark start with", "what letter does this sight begin with",
            "with which letter does the monument begin", "what is the first letter of this landmark",
            "take the first letter of the sight", "what is the initial of this place",
            "which letter comes first in this landmark",
        ),
        keywords=("first", "initial", "letter", "start", "begin"),
        reader_wordings=(
            "could you tell me the letter at the start of the landmark", "i would like to know the initial of this sight",
            "let us see which letter this monument begins with", "now think of the first letter in this landmark",
            "one letter please, the initial of the monument", "spell the sight, which letter do you write first",
            "look at the landmark and answer with its initial", "do you know what letter the place starts with",
            "a landmark follows, reply with its first letter", "only the first letter of the sight counts, which is it",
        ),
    ),
    Skill(
        name="landmark-language",
        description="Name the main language spoken in the country of a landmark (eiffel tower -> french).",
        objects=(
            "the language spoken at the landmark", "the language of this place", "the main language around the monument",
            "the language you hear at this sight", "the language people speak at the landmark",
            "the tongue spoken at this place", "the language spoken around this landmark",
            "the name of the language at this monument",
        ),
        sentences=(
            "which language is spoken at this landmark", "what language do people speak around the monument",
            "what is the main language at this sight", "which language do you hear at this place",
            "in what language do they speak at the landmark", "which tongue is spoken around this sight",
            "what language does a guide at this monument speak",
        ),
        keywords=("language", "languages", "tongue", "speak", "spoken"),
        reader_wordings=(
            "could you tell me what language is spoken near this landmark", "i would like to know the language of that sight",
            "let us see what people speak near this place", "now think of the language heard around this landmark",
            "one word please, the language at this monument", "of all the languages, which one is spoken at the sight",
            "look at the landmark and answer with the language spoken there",
            "do you know which tongue the guides speak at this landmark", "a landmark follows, reply with the local language",
            "if i visit this monument, which language should i speak",
        ),
    ),
)  # fmt: skip


LANDMARKS = Domain(
    name="landmarks",
    kind="generation",
    template="{prompt}: {input} =",
    verbs=ASKING,
    skills=SKILLS,
    fallback=FILLERS,
    draw=lambda rng: rng.choice(ITEMS),
    split=shuffled_splits(ITEMS, "landmarks", 32),
)
