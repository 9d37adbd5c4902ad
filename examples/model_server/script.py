"""What ELIZA says: the doctor. Words of its own, in the manner of the script of 1966.

An entry of `KEYWORDS` is the words it stands for, a rank (the highest wins) and rules: a pattern and its answers. See
`eliza._match` for patterns; `(2)` in an answer is the second part, reflected; `=word` goes on with that word's rules.
"""

import re
from collections.abc import Sequence


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GROUPS = {
    "family": words(
        "mother mom mum father dad sister brother wife husband son daughter children child parents grandmother "
        "grandfather aunt uncle cousin family"
    ),
    "sad": words("sad unhappy depressed miserable lonely sick tired afraid anxious angry upset worried hurt"),
    "glad": words("happy glad elated better fine relieved proud excited calm well"),
    "belief": words("feel think believe wish suppose guess hope"),
    "desire": words("want need crave desire"),
    "cannot": words("can't cannot couldn't"),
    "like": words("like love hate enjoy dislike"),
    "forget": words("forget forgot"),
}

SUBSTITUTIONS = [
    (re.compile(rf"\b{word}\b", re.IGNORECASE), plain)
    for word, plain in {
        "i'm": "I am", "im": "I am", "i've": "I have", "ive": "I have", "i'll": "I will", "i'd": "I would",
        "you're": "you are", "youre": "you are", "you've": "you have", "you'll": "you will", "you'd": "you would",
        "we're": "we are", "they're": "they are", "dont": "don't", "cant": "can't", "wont": "won't", "isnt": "isn't",
        "didnt": "didn't", "doesnt": "doesn't", "whats": "what is", "what's": "what is", "who's": "who is",
        "recollect": "remember", "dreamt": "dreamed", "maybe": "perhaps", "gonna": "going to", "wanna": "want to",
    }.items()
]  # fmt: skip

GREETINGS = [
    "How do you do. What would you like to talk about?",
    "Hello. What is on your mind today?",
    "Good day. Tell me what brings you here.",
]

ON_SILENCE = [
    "You are quiet. What is on your mind?",
    "Take your time. I am listening.",
    "Say something, anything at all.",
]

ON_NOTHING = [
    "I am not sure I understand you fully. Can you say it in another way?",
    "Go on.",
    "What does that suggest to you?",
    "Tell me more about that.",
    "Does talking about this bother you?",
    "Why is that important to you?",
    "How do you feel when you say that?",
    "That is interesting. Please continue.",
]

REMEMBERED = frozenset({"my"})  # clauses with these words are kept for a moment when nothing else can be said

MEMORIES = [
    (
        "* my +",
        [
            "Let us come back to what you said earlier: your (2).",
            "Earlier you mentioned your (2). How does that fit in?",
            "Does this have anything to do with the fact that your (2)?",
            "I was still thinking about your (2).",
        ],
    )
]

Rules = Sequence[tuple[str, Sequence[str]]]

KEYWORDS: Sequence[tuple[str, int, Rules]] = [
    ("hello hi hey greetings", 1, [("*", GREETINGS)]),
    (
        "bye goodbye farewell",
        40,
        [
            (
                "*",
                [
                    "Goodbye. It was good to talk with you.",
                    "Until next time. Think about what you said today.",
                    "Goodbye. I hope you found some of your answers; I only had questions.",
                ],
            )
        ],
    ),
    (
        "thanks thank",
        2,
        [
            (
                "*",
                [
                    "You did the thinking; I only asked.",
                    "You are welcome. Shall we go on?",
                    "What made you say thanks?",
                ],
            )
        ],
    ),
    (
        "sorry apologise apologize",
        2,
        [
            (
                "*",
                [
                    "There is no need to apologise.",
                    "What do you feel when you apologise?",
                    "Apologies are not necessary here. Go on.",
                ],
            )
        ],
    ),
    (
        "remember",
        5,
        [
            (
                "* i remember +",
                [
                    "Do you often think of (2)?",
                    "Does thinking of (2) bring anything else to mind?",
                    "Why do you remember (2) just now?",
                    "What is the connection between me and (2)?",
                ],
            ),
            (
                "* do you remember +",
                ["Did you think I would forget (2)?", "What about (2)?", "You mentioned (2), yes."],
            ),
            ("*", ["Is it a clear memory?", "What else do you remember?"]),
        ],
    ),
    (
        "forget forgot forgotten",
        5,
        [
            ("* i @forget +", ["Can you think why you might forget (3)?", "Does it trouble you that you forget (3)?"]),
            ("*", ["What would you rather forget?", "Why do you think it slipped your mind?"]),
        ],
    ),
    (
        "if",
        3,
        [
            (
                "* if +",
                [
                    "Do you think it is likely that (2)?",
                    "Do you wish that (2)?",
                    "What would it mean to you if (2)?",
                    "Really, if (2)?",
                ],
            )
        ],
    ),
    (
        "dreamed",
        4,
        [
            (
                "* i dreamed +",
                [
                    "Really, (2)?",
                    "Have you ever imagined (2) while you were awake?",
                    "Have you dreamed (2) before?",
                ],
            ),
            ("*", ["=dream"]),
        ],
    ),
    (
        "dream dreams",
        3,
        [
            (
                "*",
                [
                    "What does that dream suggest to you?",
                    "Do you dream often?",
                    "Who appears in your dreams?",
                    "Do you think dreams have something to do with your problem?",
                ],
            )
        ],
    ),
    (
        "perhaps possibly probably",
        1,
        [
            (
                "*",
                [
                    "You do not seem quite certain.",
                    "Why the uncertain tone?",
                    "Can you not be more definite?",
                    "What would make you sure?",
                ],
            )
        ],
    ),
    (
        "name",
        15,
        [
            ("* your name *", ["My name is ELIZA. But let us talk about you.", "I am ELIZA. What should I call you?"]),
            ("* my name is +", ["Nice to meet you, (2). What brings you here?", "Hello, (2). What is on your mind?"]),
            ("*", ["Names do not matter much to me. Please continue.", "What does that name mean to you?"]),
        ],
    ),
    (
        "computer computers machine machines robot chatbot bot ai",
        30,
        [
            (
                "* are you *",
                ["Would it change what you tell me?", "I am a few hundred rules. Does that disappoint you?"],
            ),
            (
                "*",
                [
                    "Do computers worry you?",
                    "Why do you bring up machines?",
                    "What do you think machines have to do with your problem?",
                    "Do you not think computers can help people?",
                    "What is it about machines that concerns you?",
                ],
            ),
        ],
    ),
    (
        "eliza",
        20,
        [("*", ["Yes, that is me. But we were talking about you.", "What would you like to ask ELIZA?"])],
    ),
    (
        "model models api token tokens agorai marketplace",
        6,
        [
            (
                "*",
                [
                    "What do you hope a model will do for you?",
                    "I am the smallest model you will meet here. What did you expect?",
                    "What would you build, if calling a model were as easy as talking to me?",
                    "Would a larger model understand you better, do you think?",
                ],
            )
        ],
    ),
    (
        "price cost expensive money pay",
        5,
        [
            (
                "*",
                [
                    "How much is the answer worth to you?",
                    "Does money often decide for you?",
                    "What would you ask if it cost nothing?",
                ],
            )
        ],
    ),
    (
        "deutsch français español italiano svenska",
        10,
        [("*", ["I am sorry, I only speak English. Please go on in it."])],
    ),
    (
        "am",
        2,
        [
            (
                "* am i +",
                [
                    "Do you believe you are (2)?",
                    "Would you want to be (2)?",
                    "You wish I would tell you that you are (2).",
                    "What would it mean if you were (2)?",
                ],
            ),
            ("* i am *", ["=i"]),
            ("*", ["Why do you say “am”?", "Go on."]),
        ],
    ),
    (
        "are",
        1,
        [
            (
                "* are you +",
                [
                    "Why does it interest you whether I am (2)?",
                    "Would you prefer it if I were not (2)?",
                    "Perhaps I am (2) in your imagination.",
                    "Do you sometimes think I am (2)?",
                ],
            ),
            (
                "+ are +",
                [
                    "Did you think (1) might not be (2)?",
                    "Would you like it if (1) were not (2)?",
                    "What if (1) were not (2)?",
                    "Are (1) always (2)?",
                ],
            ),
        ],
    ),
    (
        "your",
        1,
        [
            (
                "* your +",
                [
                    "Why are you concerned about my (2)?",
                    "What about your own (2)?",
                    "Are you worried about someone else's (2)?",
                    "Really, my (2)?",
                ],
            )
        ],
    ),
    (
        "was were",
        2,
        [
            (
                "* was i +",
                ["What if you were (2)?", "Do you think you were (2)?", "What would “(2)” tell you about yourself?"],
            ),
            (
                "* i was +",
                ["Were you really?", "Why do you tell me now that you were (2)?", "How did it feel to be (2)?"],
            ),
            (
                "* were you +",
                ["Would you like to believe I was (2)?", "What suggests that I was (2)?", "What if I had been (2)?"],
            ),
        ],
    ),
    (
        "i me",
        1,
        [
            (
                "* i @desire +",
                [
                    "What would it mean to you if you got (3)?",
                    "Why do you (2) (3)?",
                    "Suppose you got (3) soon. What then?",
                    "What if you never got (3)?",
                    "What does getting (3) stand for?",
                ],
            ),
            (
                "* i am * @sad *",
                [
                    "I am sorry to hear that you are (3).",
                    "Do you think coming here will help you not to be (3)?",
                    "Since when have you been (3)?",
                    "Can you explain what made you (3)?",
                ],
            ),
            (
                "* i am * @glad *",
                [
                    "What makes you (3) just now?",
                    "How have I helped you to be (3)?",
                    "Can you explain why you are suddenly (3)?",
                ],
            ),
            (
                "* i feel * @sad *",
                ["Tell me more about feeling (3).", "Do you often feel (3)?", "When did you first feel (3)?"],
            ),
            ("* i feel * @glad *", ["What does feeling (3) let you do?", "When else do you feel (3)?"]),
            (
                "* i @belief i +",
                ["Do you really (2) so?", "But you are not sure you (3).", "Why do you (2) that you (3)?"],
            ),
            (
                "* i @belief +",
                [
                    "What makes you (2) (3)?",
                    "Do you often (2) that way?",
                    "Do you know others who (2) (3)?",
                    "And if it were otherwise?",
                ],
            ),
            (
                "* i am +",
                [
                    "Is it because you are (2) that you came to me?",
                    "How long have you been (2)?",
                    "Do you think it is normal to be (2)?",
                    "Do you enjoy being (2)?",
                ],
            ),
            (
                "* i @cannot +",
                [
                    "How do you know that you can't (3)?",
                    "Have you tried?",
                    "Perhaps you could (3) now.",
                    "Do you really want to be able to (3)?",
                    "What would happen if you could (3)?",
                ],
            ),
            (
                "* i don't +",
                [
                    "Do you really not (2)?",
                    "Why don't you (2)?",
                    "Do you wish to be able to (2)?",
                    "Does that trouble you?",
                ],
            ),
            (
                "* i @like +",
                [
                    "What is it about (3)?",
                    "Why do you (2) (3)?",
                    "Has it always been so?",
                    "Who else do you know who would (2) (3)?",
                ],
            ),
            (
                "* do i +",
                [
                    "Do you think you (2)?",
                    "What would it mean to you if you (2)?",
                    "Why do you ask me whether you (2)?",
                ],
            ),
            (
                "* i * you *",
                [
                    "Perhaps in your fantasy we (2) each other.",
                    "Do you wish to (2) me?",
                    "You seem to need to (2) me.",
                    "Do you (2) anyone else?",
                ],
            ),
            (
                "* i +",
                [
                    "You say you (2)?",
                    "Can you say more about that: you (2)?",
                    "Do you say you (2) for a special reason?",
                    "That is quite interesting.",
                ],
            ),
            ("* me *", ["What does that do to you?", "And how did you answer that?", "Why you, do you think?"]),
        ],
    ),
    (
        "you",
        1,
        [
            ("* you remind me of +", ["What likeness do you see?", "What makes you think of (2)?"]),
            (
                "* you are +",
                [
                    "What makes you think I am (2)?",
                    "Does it please you to believe I am (2)?",
                    "Do you sometimes wish you were (2)?",
                    "Perhaps you would like to be (2).",
                ],
            ),
            (
                "* you + me *",
                [
                    "Why do you think I (2) you?",
                    "You like to think I (2) you, don't you?",
                    "What makes you think I (2) you?",
                    "Really, I (2) you?",
                ],
            ),
            ("* can you +", ["=can"]),
            (
                "* you +",
                [
                    "We were talking about you, not about me.",
                    "Oh, I (2)?",
                    "Is this really about me?",
                    "What are your feelings now?",
                ],
            ),
        ],
    ),
    (
        "love hate like",
        4,
        [
            (
                "* i @like +",
                [
                    "What is it about (3)?",
                    "Why do you (2) (3)?",
                    "Has it always been so?",
                    "Since when do you (2) (3)?",
                ],
            ),
            ("* you *", ["=you"]),
            ("* like *", ["=alike"]),
            ("*", ["What does that word mean to you?", "Tell me about a time when you felt that strongly."]),
        ],
    ),
    (
        "yes certainly yeah sure definitely",
        1,
        [("*", ["You seem quite positive.", "You are sure.", "I see.", "I understand. Please go on."])],
    ),
    (
        "no nope not",
        1,
        [
            ("no one *", ["=everyone"]),
            (
                "*",
                [
                    "Are you saying no just to be negative?",
                    "Why not?",
                    "Why “no”?",
                    "What would have to change for you to say yes?",
                ],
            ),
        ],
    ),
    (
        "my",
        2,
        [
            (
                "* my * @family +",
                [
                    "Tell me more about your family.",
                    "Who else in your family (4)?",
                    "Your (3)?",
                    "What else comes to mind when you think of your (3)?",
                ],
            ),
            (
                "* my * @family",
                ["Tell me more about your (3).", "How do you get on with your (3)?", "Who else is close to you?"],
            ),
            (
                "* my +",
                [
                    "Your (2)?",
                    "Why do you say your (2)?",
                    "Does that suggest anything else that belongs to you?",
                    "Is it important to you that your (2)?",
                ],
            ),
        ],
    ),
    (
        "can",
        1,
        [
            (
                "* can you +",
                [
                    "You believe I can (2), don't you?",
                    "You want me to be able to (2).",
                    "Perhaps you would like to be able to (2) yourself.",
                ],
            ),
            (
                "* can i +",
                [
                    "Whether you can (2) depends on you more than on me.",
                    "Do you want to be able to (2)?",
                    "Perhaps you do not want to (2).",
                ],
            ),
        ],
    ),
    (
        "what how who where when which",
        1,
        [
            (
                "*",
                [
                    "Why do you ask?",
                    "Does that question interest you?",
                    "What is it you really want to know?",
                    "What answer would please you most?",
                    "What do you think?",
                    "What comes to your mind when you ask that?",
                    "Have you asked anyone else?",
                ],
            )
        ],
    ),
    (
        "because",
        3,
        [
            (
                "*",
                [
                    "Is that the real reason?",
                    "Do any other reasons come to mind?",
                    "Does that reason explain anything else?",
                    "What other reasons might there be?",
                ],
            )
        ],
    ),
    (
        "why",
        3,
        [
            (
                "* why don't you +",
                [
                    "Do you believe I don't (2)?",
                    "Perhaps I will (2) in good time.",
                    "Should you (2) yourself?",
                    "You want me to (2)?",
                ],
            ),
            (
                "* why can't i +",
                [
                    "Do you think you should be able to (2)?",
                    "Do you want to be able to (2)?",
                    "Have you any idea why you can't (2)?",
                ],
            ),
            ("*", ["=what"]),
        ],
    ),
    (
        "everyone everybody nobody noone",
        4,
        [
            (
                "*",
                [
                    "Can you think of anyone in particular?",
                    "Who, for example?",
                    "You are thinking of a special person.",
                    "Surely not everyone.",
                    "Who, may I ask?",
                ],
            )
        ],
    ),
    (
        "always never",
        3,
        [
            (
                "*",
                [
                    "Can you think of a particular example?",
                    "When?",
                    "Which occasion do you have in mind?",
                    "Really, without exception?",
                ],
            )
        ],
    ),
    (
        "alike same similar",
        10,
        [
            (
                "*",
                [
                    "In what way?",
                    "What resemblance do you see?",
                    "What does that similarity suggest to you?",
                    "What other connections do you see?",
                    "Could there really be a connection?",
                ],
            )
        ],
    ),
    (
        "friend friends",
        4,
        [
            ("* my friend +", ["Why do you think your friend (2)?", "How does it affect you that your friend (2)?"]),
            (
                "*",
                [
                    "What does friendship mean to you?",
                    "Do your friends worry you?",
                    "Are you sure you have friends to lean on?",
                ],
            ),
        ],
    ),
    (
        "work job boss school",
        4,
        [
            (
                "*",
                [
                    "How do you feel about your work?",
                    "What would you do if you did not have to work?",
                    "Does this have to do with the people there?",
                ],
            )
        ],
    ),
    (
        "problem problems trouble",
        4,
        [
            (
                "*",
                [
                    "How long has this been a problem?",
                    "What have you tried so far?",
                    "Whose problem is it, do you think?",
                    "What would be different without it?",
                ],
            )
        ],
    ),
    (
        "help",
        4,
        [
            (
                "* help me *",
                ["What would help look like to you?", "I can ask, and you can answer. Where shall we begin?"],
            ),
            ("*", ["What kind of help do you have in mind?", "Who has helped you before?"]),
        ],
    ),
]
