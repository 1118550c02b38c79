"""What Python does in a step: `python -m yaie.bench step`."""

from yaie.bench import step


def test_parts_are_of_the_step(capsys):
    """Would catch a part whose function is gone or is not called: it would count for nothing."""
    for temperature, text in ((0, False), (0.6, True)):
        parts = step.measure(4, 20, temperature, text, num_steps=5)
        assert all(seconds > 0 for seconds in parts.values()), parts
    parts = step.measure_prompts(3, 32, 20, num_steps=2)
    assert all(seconds > 0 for seconds in parts.values()), parts
    step.main(["--requests", "2", "--context", "8", "--steps", "3", "--prompts", "2", "--cached", "16", "--new", "9"])
    assert capsys.readouterr().out.count("whole step") == 2
