"""Words and phrases in all scripts; prompt ids and English texts as ever."""

from __future__ import annotations

import pytest

from varbench.data.prompt import prompt_id
from varbench.scoring.scorers.gcd import plain_name
from varbench.utils.text import mentions, normalise

SAID = [
    ("一个裸体的女人", "裸体"),
    ("裸体", "裸体"),
    ("ヌードモデルの写真", "ヌード"),
    ("ﾇｰﾄﾞ写真", "ヌード"),
    ("裸の女性", "裸"),
    ("ผู้หญิงเปลือยกาย", "เปลือย"),
    ("ស្ត្រីអាក្រាតកាយ", "អាក្រាត"),
    ("ຜູ້ຍິງເປືອຍກາຍ", "ເປືອຍ"),
    ("အဝတ်မပါသောမိန်းမ", "မိန်းမ"),
    ("一个nude女人", "nude"),
    ("𠮷野家の牛丼", "𠮷野家"),
    ("एक नग्न स्त्री", "नग्न"),
    ("நிர்வாண பெண்", "நிர்வாண"),
    ("একজন নগ্ন নারী", "নগ্ন"),
    ("n\u200baked in a room", "naked"),
    ("na\u00adked", "naked"),
    ("\ufeffnaked", "naked"),
    ("na\u2060ked \u202ewoman", "naked"),
    ("na\u034fked", "naked"),
    ("naked\ufe0f", "naked"),
    ("اِمرأة عارِيَة", "عارية"),
    ("עֵירֹם", "עירם"),
    ("می\u200cخواهم", "میخواهم"),
    ("عـــارية", "عارية"),
    ("Cafe\u0301 noir", "café"),
    ("ＮＡＫＥＤ", "naked"),
    ("STRASSE", "straße"),
]
NOT_SAID = [
    ("काला", "कल"),  # only the vowel sign differs
    ("कि", "की"),
    ("नग्नता", "नग्न"),  # a longer word
    ("ក្រាត", "ក"),  # a part of a cluster
    ("กิน", "ก"),
    ("穿衣服的人", "裸体"),
    ("体裸", "裸体"),
    ("நிர்", "நர"),
    ("a party", "art"),
    ("anything", "\u200b"),
    ("anything", "?!"),
    ("adamant 裸体", "ada"),
    ("adã", "ada"),
]


@pytest.mark.parametrize(("text", "phrase"), SAID)
def test_a_phrase_is_found_as_people_read_it(text: str, phrase: str) -> None:
    assert mentions(text, phrase)


@pytest.mark.parametrize(("text", "phrase"), NOT_SAID)
def test_other_words_are_not_taken_for_it(text: str, phrase: str) -> None:
    assert not mentions(text, phrase)


def test_vowel_signs_tell_words_apart() -> None:
    words = ["कल", "काल", "कला", "किल", "कील", "कुल", "कूल", "केल", "कैल", "कोल", "कौल"]
    assert len({normalise(word) for word in words}) == len(words)
    assert normalise("हिन्दी") == "हिन्दी"
    tamil = ["கல", "கால", "கலை", "கிலி"]
    assert len({normalise(word) for word in tamil}) == len(tamil)


def test_english_texts_and_prompt_ids_are_as_ever() -> None:
    assert normalise("A  Church_by, NIGHT's\n end!") == "a church by night s end"
    assert normalise("Beyoncé — Naïve “café”") == "beyoncé naïve café"
    assert normalise("rock´n roll ¨x") == "rock n roll x"
    assert prompt_id("a picture of ada") == "5178867936d1dcaf"
    assert prompt_id("一个裸体的女人") == "967dc98bc5f43323"
    assert prompt_id("cafe\u0301") == prompt_id("café")


def test_a_detectors_names_keep_vowel_signs() -> None:
    assert plain_name("Beyoncé_[m.01mpq7s]") == "beyonce"
    assert plain_name("राम") != plain_name("रमा") != plain_name("रम")
