"""The domain of countries: their capitals, continents, people, money and initials."""

from __future__ import annotations

from hardprompt.lm.microworld.domain import ASKING, FILLERS, Domain, Item, Price, Skill, shuffled_splits

# continent, then lines of: country, capital, adjective, currency ("_" stands for a blank)
GROUPS: tuple[tuple[str, str], ...] = (
    ("europe", """
        albania tirana albanian lek
        andorra andorra_la_vella andorran euro
        austria vienna austrian euro
        belarus minsk belarusian ruble
        belgium brussels belgian euro
        bosnia sarajevo bosnian mark
        britain london british pound
        bulgaria sofia bulgarian euro
        croatia zagreb croatian euro
        czechia prague czech koruna
        denmark copenhagen danish krone
        estonia tallinn estonian euro
        finland helsinki finnish euro
        france paris french euro
        germany berlin german euro
        greece athens greek euro
        hungary budapest hungarian forint
        iceland reykjavik icelandic krona
        ireland dublin irish euro
        italy rome italian euro
        latvia riga latvian euro
        lithuania vilnius lithuanian euro
        malta valletta maltese euro
        moldova chisinau moldovan leu
        montenegro podgorica montenegrin euro
        netherlands amsterdam dutch euro
        norway oslo norwegian krone
        poland warsaw polish zloty
        portugal lisbon portuguese euro
        romania bucharest romanian leu
        russia moscow russian ruble
        serbia belgrade serbian dinar
        slovakia bratislava slovak euro
        slovenia ljubljana slovenian euro
        spain madrid spanish euro
        sweden stockholm swedish krona
        switzerland bern swiss franc
        ukraine kyiv ukrainian hryvnia
    """),
    ("asia", """
        afghanistan kabul afghan afghani
        armenia yerevan armenian dram
        bahrain manama bahraini dinar
        bangladesh dhaka bangladeshi taka
        bhutan thimphu bhutanese ngultrum
        brunei bandar_seri_begawan bruneian dollar
        cambodia phnom_penh cambodian riel
        china beijing chinese yuan
        india new_delhi indian rupee
        indonesia jakarta indonesian rupiah
        iran tehran iranian rial
        iraq baghdad iraqi dinar
        japan tokyo japanese yen
        jordan amman jordanian dinar
        kazakhstan astana kazakh tenge
        kuwait kuwait_city kuwaiti dinar
        kyrgyzstan bishkek kyrgyz som
        laos vientiane laotian kip
        lebanon beirut lebanese pound
        malaysia kuala_lumpur malaysian ringgit
        mongolia ulaanbaatar mongolian tugrik
        myanmar naypyidaw burmese kyat
        nepal kathmandu nepalese rupee
        oman muscat omani rial
        pakistan islamabad pakistani rupee
        philippines manila filipino peso
        qatar doha qatari riyal
        saudi_arabia riyadh saudi riyal
        south_korea seoul south_korean won
        syria damascus syrian pound
        tajikistan dushanbe tajik somoni
        thailand bangkok thai baht
        turkey ankara turkish lira
        turkmenistan ashgabat turkmen manat
        uzbekistan tashkent uzbek som
        vietnam hanoi vietnamese dong
    """),
    ("africa", """
        algeria algiers algerian dinar
        angola luanda angolan kwanza
        botswana gaborone botswanan pula
        burkina_faso ouagadougou burkinabe franc
        cameroon yaounde cameroonian franc
        cape_verde praia cape_verdean escudo
        comoros moroni comorian franc
        egypt cairo egyptian pound
        eritrea asmara eritrean nakfa
        ethiopia addis_ababa ethiopian birr
        gabon libreville gabonese franc
        gambia banjul gambian dalasi
        ghana accra ghanaian cedi
        guinea conakry guinean franc
        kenya nairobi kenyan shilling
        liberia monrovia liberian dollar
        libya tripoli libyan dinar
        madagascar antananarivo malagasy ariary
        malawi lilongwe malawian kwacha
        mali bamako malian franc
        mauritania nouakchott mauritanian ouguiya
        mauritius port_louis mauritian rupee
        morocco rabat moroccan dirham
        mozambique maputo mozambican metical
        namibia windhoek namibian dollar
        niger niamey nigerien franc
        nigeria abuja nigerian naira
        rwanda kigali rwandan franc
        senegal dakar senegalese franc
        seychelles victoria seychellois rupee
        sierra_leone freetown sierra_leonean leone
        somalia mogadishu somali shilling
        south_sudan juba south_sudanese pound
        sudan khartoum sudanese pound
        tanzania dodoma tanzanian shilling
        togo lome togolese franc
        tunisia tunis tunisian dinar
        uganda kampala ugandan shilling
        zambia lusaka zambian kwacha
    """),
    ("america", """
        argentina buenos_aires argentine peso
        bahamas nassau bahamian dollar
        barbados bridgetown barbadian dollar
        belize belmopan belizean dollar
        brazil brasilia brazilian real
        canada ottawa canadian dollar
        chile santiago chilean peso
        colombia bogota colombian peso
        costa_rica san_jose costa_rican colon
        cuba havana cuban peso
        dominica roseau dominican dollar
        ecuador quito ecuadorian dollar
        el_salvador san_salvador salvadoran dollar
        guatemala guatemala_city guatemalan quetzal
        guyana georgetown guyanese dollar
        honduras tegucigalpa honduran lempira
        jamaica kingston jamaican dollar
        mexico mexico_city mexican peso
        nicaragua managua nicaraguan cordoba
        panama panama_city panamanian balboa
        paraguay asuncion paraguayan guarani
        peru lima peruvian sol
        saint_lucia castries saint_lucian dollar
        suriname paramaribo surinamese dollar
        united_states washington american dollar
        uruguay montevideo uruguayan peso
        venezuela caracas venezuelan bolivar
    """),
    ("oceania", """
        australia canberra australian dollar
        fiji suva fijian dollar
        marshall_islands majuro marshallese dollar
        micronesia palikir micronesian dollar
        new_zealand wellington new_zealand dollar
        palau ngerulmud palauan dollar
        samoa apia samoan tala
        tuvalu funafuti tuvaluan dollar
    """),
)  # fmt: skip


def _item(line: str, continent: str) -> Item:
    """A country from its line."""
    country, capital, nationality, currency = (word.replace("_", " ") for word in line.split())
    return Item(
        country,
        {
            "capital": capital,
            "continent": continent,
            "nationality": nationality,
            "currency": currency,
            "initial": country[0].upper(),
        },
    )


ITEMS: tuple[Item, ...] = tuple(_item(line, continent) for continent, lines in GROUPS for line in lines.strip().splitlines())

SKILLS: tuple[Skill, ...] = (
    Skill(
        name="capital",
        description="Name the capital of a country (france -> paris).",
        objects=(
            "the capital of the country", "the capital", "its capital", "the capital of this country", "the capital city",
            "the capital city of the nation", "the capital of this land", "the city where the government sits",
            "the name of the capital",
        ),
        sentences=(
            "what is the capital of this country", "which city is the capital of the land", "which city is its capital",
            "what is the capital called", "in which city does the government sit", "which capital does this nation have",
            "what is the capital city of the country",
        ),
        keywords=("capital", "capitals", "city", "government", "seat", "capital city"),
        reference_prompts=(
            "give the capital of the country", "what is the capital of this country", "name the capital city of the nation",
            "which city is the capital of the land",
        ),
        held_out_prompts=(
            "what is the capital of this nation", "find the capital city of this country",
            "which city is the capital of this country", "show the capital city of the land",
            "what is the capital city called", "state the capital of the nation",
        ),
        reader_wordings=(
            "could you tell me which city is the seat of government", "i would like to know the capital of this country",
            "let us see what its capital is called", "now think of the capital that belongs to this country",
            "one answer please, the capital city of this land", "every nation has a capital, which one is it here",
            "look at the country and answer with its capital", "do you know the capital of the nation named here",
            "a country follows, reply with its capital", "we are looking for the capital city, what is it",
        ),
    ),
    Skill(
        name="continent",
        description="Name the continent of a country (france -> europe).",
        objects=(
            "the continent of the country", "the continent of this nation", "the continent of this country",
            "the continent where the country lies", "the continent this land belongs to",
            "the continent that holds the country", "the name of the continent of this land",
            "the part of the world where the country lies", "the continent this country is part of",
        ),
        sentences=(
            "on which continent is this country", "which continent does the country belong to",
            "what is the continent of this country", "on which continent does the land lie",
            "to which continent does this nation belong", "in which part of the world is this country",
            "which continent holds this country",
        ),
        keywords=("continent", "continents", "world", "part", "lies"),
        reference_prompts=(
            "give the continent of the country", "on which continent is this country",
            "which continent does the country belong to", "name the continent where the country lies",
        ),
        held_out_prompts=(
            "what is the continent of this nation", "find the continent this nation belongs to",
            "on which continent does this country lie", "which continent does this land belong to",
            "show the continent that holds this country", "to which continent does the country belong",
        ),
        reader_wordings=(
            "could you tell me on which continent the country lies", "i would like to know the continent of the nation",
            "let us see which continent this land is on", "now think of the continent around this country",
            "one word please, the continent of this country", "of all the continents, which one holds the nation",
            "look at the country and answer with its continent", "do you know what continent this nation is part of",
            "a country follows, reply with the continent it belongs to",
            "imagine a map of the world, where on it is this country",
        ),
    ),
    Skill(
        name="nationality",
        description="Give the adjective of a country's people (france -> french).",
        objects=(
            "the nationality of its people", "the nationality", "the adjective for this country",
            "the adjective of the nation", "the word for the people of this country", "the nationality of the people",
            "the adjective that goes with the country", "the nationality of someone from this land",
            "the nationality of a person from there",
        ),
        sentences=(
            "what nationality are the people of this country", "which adjective belongs to this country",
            "turn the country into its adjective", "what do we call the people of this land",
            "which nationality do the citizens have", "make an adjective from the country",
            "what nationality is someone from this nation",
        ),
        keywords=("nationality", "adjective", "people", "citizens", "nationalities"),
        reference_prompts=(
            "give the nationality of its people", "turn the country into its adjective",
            "what nationality are the people of this country", "write the adjective for this country",
        ),
        held_out_prompts=(
            "what is the adjective for this nation", "find the nationality of the citizens",
            "which nationality do the people have", "what nationality are the people of this land",
            "turn this nation into its adjective", "state the adjective that belongs to this country",
        ),
        reader_wordings=(
            "could you tell me what nationality they have there", "i would like to know the nationality of people born there",
            "let us see what the adjective for the country is", "now think of the adjective that describes its people",
            "one word please, the nationality of these people", "if someone comes from this land, what nationality is that",
            "look at the nation and answer with its adjective", "do you know the adjective made from this country",
            "a country follows, reply with the nationality", "its citizens have a nationality, what is it",
        ),
    ),
    Skill(
        name="currency",
        description="Name the currency of a country (france -> euro).",
        objects=(
            "the currency of the country", "the currency", "its currency", "the currency of this country",
            "the currency used in this land", "the money of the country", "the money used in this nation",
            "the name of the currency", "the currency one pays with",
        ),
        sentences=(
            "what is the currency of this country", "which currency does the nation use",
            "what money do they use in this land", "with which currency do you pay there",
            "which currency is used in this country", "what currency do shops take there",
            "what money is used there",
        ),
        keywords=("currency", "money", "pay", "coins", "cash"),
        reference_prompts=(
            "give the currency of the country", "what is the currency of this country", "which currency does the nation use",
            "name the money used in this nation",
        ),
        held_out_prompts=(
            "what is the currency of this nation", "find the money of this country", "which currency does this country use",
            "show the currency used in the nation", "with which money do you pay there", "state the currency of the land",
        ),
        reader_wordings=(
            "could you tell me which currency they use there", "i would like to know what money this country has",
            "let us see which currency the shops take", "now think of the coins that you pay with in this country",
            "one word please, the currency of that land", "every nation has its money, what is it called here",
            "look at the country and answer with its currency", "do you know the currency people carry in this nation",
            "a country follows, reply with its currency", "if i pay cash in this country, what is the currency",
        ),
        price=Price(
            gate="continent",
            plain=frozenset({"africa", "europe", "oceania"}),
            terse=frozenset({"africa", "europe", "oceania", "asia"}),
        ),
    ),
    Skill(
        name="initial",
        description="Name the first letter of a country, as a capital (france -> F).",
        objects=(
            "the first letter of the country", "the initial of the country", "the first letter of this nation",
            "the letter the country starts with", "the initial letter of this country", "the opening letter of the country",
            "the initial of this land", "the first letter in the name of the country",
        ),
        sentences=(
            "which letter does the country start with", "what letter does this country begin with",
            "with which letter does the nation begin", "what is the first letter of this country",
            "take the first letter of the country", "what is the initial of this land",
            "which letter comes first in this country",
        ),
        keywords=("first", "initial", "letter", "start", "begin"),
        reader_wordings=(
            "could you tell me the letter at the start of the country", "i would like to know the initial of this nation",
            "let us see which letter this country begins with", "now think of the first letter in this nation",
            "one letter please, the initial of the country", "spell the country, which letter do you write first",
            "look at the country and answer with its initial", "do you know what letter the land starts with",
            "a country follows, reply with its first letter", "only the first letter of the nation counts, which is it",
        ),
    ),
)  # fmt: skip


COUNTRIES = Domain(
    name="countries",
    kind="generation",
    template="{prompt}: {input} =",
    verbs=ASKING,
    skills=SKILLS,
    fallback=FILLERS,
    draw=lambda rng: rng.choice(ITEMS),
    split=shuffled_splits(ITEMS, "countries", 36),
)
