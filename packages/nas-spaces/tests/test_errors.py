from nas_spaces import InputError, nearest


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_nearest_lists_all_names_and_the_likely_one():
    assert nearest("macz", ["params", "macs"]) == "did you mean 'macs'? valid: macs, params"
    assert nearest("qqqq", ["params", "macs"]) == "valid: macs, params"
