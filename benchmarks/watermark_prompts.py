"""What the reference model is asked to write for the watermark's benchmark: forms, of topics."""

TOPICS = (  # noqa: SIM905 - Prose reads better than sixty quoted strings.
    "diabetes, high blood pressure, wound care, discharge from hospital, taking medicines on "
    "time, asthma in children, telemedicine, the privacy of patients, saving for retirement, "
    "credit risk, fraud in banks, home mortgages, insurance claims, money laundering, stock "
    "markets, index funds, sleep, vaccination, mental health at work, knee pain, food for older "
    "people, emergency rooms, clinical trials, electronic health records, company audits, "
    "household budgets, bonds, inflation, student loans, business continuity, encryption, cloud "
    "computing, a lighthouse keeper, a walk in the mountains, the history of bread, city "
    "gardens, bees, an old violin maker, ocean currents, volcanoes, the invention of printing, "
    "chess openings, learning languages, public libraries, rivers, solar power, bicycle repair, "
    "a detective in Lisbon, a dragon and a librarian, railways, ancient Rome, photography, "
    "coffee, the Moon, robots in factories, school teaching, sailing, northern winters, desert "
    "animals, jazz, architecture, tea, museums, weather forecasts"
).split(", ")
FORMS = (
    "Write a detailed article about {}.",
    "Write a long story that has to do with {}.",
    "Explain {} to a new colleague in detail.",
    "Summarise what is known about {} in several paragraphs.",
    "What should everybody know about {}?",
    "Write a letter to a friend about {}.",
    "Which mistakes do people make about {}, and why?",
    "Describe a day of somebody who works with {}.",
    "Compare two opposite views on {}.",
    "Write a lecture for students about {}.",
    "How did people see {} a hundred years ago, and how today?",
    "Write an interview with an expert on {}.",
    "Make a plan for a year around {}, month by month.",
    "Write a critical review of a book about {}.",
    "What would you tell a child about {}?",
    "Write a speech about {} for an evening event.",
)
