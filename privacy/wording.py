"""How months, names and places are written: pieces of patterns that several recognisers share."""

MONTHS = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
# Of any length, and none given back: `recogniser` says why.
BLANKS = r"[ \t]++"
# With a second capital where names have one: McAllister, O'Neill, Saint-Clair.
NAME = (
    r"(?:(?:Mac|Mc|Fitz|De|Di|La|Le|Van)(?=[A-Z])|[OD]['\u2019](?=[A-Z]))?"
    r"[A-ZÀ-Þ][a-zà-ÿ]{1,40}(?:['\u2019-][A-ZÀ-Þ]?[a-zà-ÿ]{1,40}){0,4}"
)
INITIAL = r"(?:[A-Z]\.)"
PARTICLE = r"(?:van|von|de|del|la|der|bin|al|da|dos|di|ten|O'|Mc)\b"
FULL = rf"(?:{NAME}|{INITIAL})(?:{BLANKS}(?:{NAME}|{INITIAL}|{PARTICLE})){{0,3}}"
# Two or more, the last one a whole name.
SEVERAL = rf"{NAME}(?:{BLANKS}(?:{INITIAL}|{PARTICLE}|{NAME})){{0,2}}{BLANKS}{NAME}"
TITLE = (
    r"(?:Mrs?|Ms|Miss|Mx|Dr|Prof|Professor|Doctor|Nurse|Sister|Rev|Reverend|Father|Rabbi|Imam|Sir"
    r"|Dame|Capt|Captain|Sgt|Officer|Judge|Señora?|Herr|Frau)\b\.?"
)
CREDENTIAL = (
    r"(?:M\.?D\.?|D\.?O\.?|R\.?N\.?|N\.?P\.?|P\.?A\.?(?:-C)?|Ph\.?D\.?|DDS|PharmD|LCSW|LPN|CRNA|FACP"
    r"|PT|OT|MSW|Jr|Sr|III)\b"
)
STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl"
    r"|Terrace|Ter|Highway|Hwy|Circle|Cir|Square|Sq|Parkway|Pkwy|Trail|Loop|Row|Alley|Crescent)\b\.?"
)
STATES = (
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]"
    "|T[NX]|UT|V[AT]|W[AIVY]"
)
STATE_NAMES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia"
    "|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts"
    "|Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada|New Hampshire|New Jersey"
    "|New Mexico|New York|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania"
    "|Rhode Island|South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington"
    "|West Virginia|Wisconsin|Wyoming"
)
FACILITY = (
    r"(?:General|Memorial|Hospital|Clinic|Medical Center|Medical Centre|Health Center|Hospice"
    r"|Infirmary|Nursing Home|Manor|Rehab|Rehabilitation|University|College|School|Elementary"
    r"|High|Church|Pharmacy|Labs?|Laboratories|Associates|Police|Prison|Shelter)\b"
)
