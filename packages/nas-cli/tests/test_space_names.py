import pytest

from nas_cli.space_names import before_additions, fix_first, short_name, split_changes
from nas_cli.spaces import load_space
from nas_spaces import InputError, published, to_json
from nas_spaces.vary import BITS, SCALES, with_bits, with_scales

ROW = "0,1,2,3,4,0,1,2"


@pytest.mark.parametrize(
    ("name", "base", "changes"),
    [
        ("digits-mobile", "digits-mobile", ()),
        ("fbnetv2-f++", "fbnetv2-f++", ()),
        ("fbnetv2-f+++channels", "fbnetv2-f++", ("+channels",)),
        (f"digits-mobile@{ROW}", "digits-mobile", (f"@{ROW}",)),
        ("x+bits=2w2a,4w4a+channels=0.5", "x", ("+bits=2w2a,4w4a", "+channels=0.5")),
        ("my:space@0,1+channels", "my:space", ("@0,1", "+channels")),
        ("a+b@c/my.json", "a+b@c/my.json", ()),
        ("a+b@c/my.json@0+bits", "a+b@c/my.json", ("@0", "+bits")),
        ("x@|a~0|+|b~0|+bits", "x", ("@|a~0|+|b~0|", "+bits")),
    ],
)
def test_what_stands_behind_a_name(name, base, changes):
    assert split_changes(name) == (base, changes)


def test_names_that_others_are_made_of():
    assert short_name(f"digits-mobile@{ROW}+channels=0.5,1") == "digits-mobile+channels"
    assert before_additions(f"a@{ROW}+channels@0+bits") == f"a@{ROW}"
    assert fix_first("a+channels=1+bits", [3, 2]) == "a@3,2+channels=1+bits"
    assert fix_first("a.json", [3]) == "a.json@3"


def test_values_of_choices_stay_in_what_is_shown(nas):
    name = "digits-resnet@0,0,0,0,0,0+bits=2w2a,9w9a"
    shown = "digits-resnet@...+bits=2w2a,9w9a"
    for args in ((), ("--limit", "bitops<=60%")):
        assert nas("spaces", name, *args).stdout.startswith(f"{shown}: 64 architectures")
    assert nas("cost", name, "0,1,1,0,0,0").stdout.startswith(f"{shown} 0,1,1,0,0,0\n")
    for plain in ("digits-resnet+bits", "digits-mobile", "resnet20"):
        assert nas("spaces", plain).stdout.startswith(f"{plain}: ")


def test_spaces_are_varied_from_left_to_right():
    plain = published.load("digits-mobile")
    fixed = plain.fix(plain.parse(ROW))
    assert load_space(f"digits-mobile@{ROW}") == fixed
    named = load_space(f"digits-mobile@{ROW}+channels")
    assert named == with_scales(fixed, SCALES, name="digits-mobile+channels")
    assert load_space("digits-mobile+channels=0.5,1").size == 200_000 * 2**8
    resnet = published.load("digits-resnet", classes=4, resolution=16, in_channels=3)
    both = load_space(
        "digits-resnet+bits+channels=0.5,1.5", classes=4, resolution=16, in_channels=3
    )
    assert both.blocks == with_scales(with_bits(resnet, BITS), (0.5, 1.5)).blocks
    assert both.num_classes == 4
    third = load_space("digits-resnet@0,0,0,0,0,0+channels=0.5,1@0,1,0,1,0,1+bits=2w2a,4w8a")
    assert third.size == 2**6
    assert [layer.layer.scale for layer in third.layers([0] * 6)[1:3]] == [0.5, 1.0]


def test_a_file_can_be_varied(tmp_path):
    path = tmp_path / "a+b.json"
    path.write_text(to_json(published.load("digits-mobile")))
    assert load_space(f"{path}@{ROW}+channels=0.5,1").size == 2**7


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("digits-mobile+chanels", "+chanels: 'chanels' is unknown: did you mean 'channels'?"),
        ("digits-mobile@0,1", "@0,1: architecture '0,1' has 2 columns"),
        ("digits-mobile+channels=a", "scales 'a' cannot be read; write them like +channels=0.5,1"),
        ("digits-mobile+channels=", "nothing stands behind the =; leave it out for the usual chan"),
        ("digits-resnet+bits=", "nothing stands behind the =; leave it out for the usual bits"),
        ("digits-mobile+channels=0", "scale=0.0 must be a finite number above 0"),
        ("digits-mobile+bits", "no layer that can be quantised"),
        ("digits-resnet+bits=" + "2" * 5000 + "w2a", "w2a' cannot be read; write bits of weights"),
        ("digits-resnet+bits=2", "bits '2' cannot be read; write bits of weights and of activ"),
        ("digits-resnet+bits=2w99a", "bits: inputs=99 must be a whole number from 1 to 16"),
        ("digit-mobile+bits", "space 'digit-mobile' is unknown: did you mean 'digits-mobile'?"),
        ("digits-mobile@", "digits-mobile@: architecture '' has 0 columns; space 'digits-mobile'"),
        ("digits-mobile@a,b+bits", "@a,b: architecture 'a,b' is no row of integers; write it as"),
        ("digits-mobile+", "space 'digits-mobile+' is unknown: did you mean 'digits-mobile'?"),
        ("digits-resnet+bits++", "'bits++' is unknown"),
    ],
)
def test_what_cannot_be_done_is_said(name, reason):
    with pytest.raises(InputError) as error:
        load_space(name)
    assert reason in str(error.value)
