"""CVAT's XML as it exports it, and XML that is out to do harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roinspect.data.annotations import read
from roinspect.data.annotations.polygons import rasterise
from roinspect.errors import UserError

FILE = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>4</id>
      <name>zipper</name>
      <size>2</size>
      <mode>annotation</mode>
      <labels>
        <label><name>teeth</name><color>#fa3253</color><type>any</type><attributes></attributes></label>
      </labels>
      <owner><username>anna</username><email></email></owner>
    </task>
    <dumped>2024-11-05 09:31:02.174932+00:00</dumped>
  </meta>
  <image id="0" name="train/good/000.png" width="40" height="30">
    <polygon label="teeth" source="manual" occluded="0" points="1.00,1.00;6.00,1.00;6.00,6.00;1.00,6.00" z_order="0">
      <attribute name="side">left</attribute>
    </polygon>
    <box label="tape" source="manual" occluded="0" xtl="10.00" ytl="20.00" xbr="14.00" ybr="22.00" z_order="0">
    </box>
    <mask label="slider" source="semi-auto" occluded="0" rle="1, 3, 2, 2" left="20" top="5" width="4" height="2" z_order="0">
    </mask>
    <polyline label="edge" source="manual" occluded="0" points="1.0,1.0;2.0,2.0" z_order="0"></polyline>
    <tag label="sharp" source="manual"></tag>
  </image>
  <image id="1" name="train/good/001.png" width="40" height="30">
    <ellipse label="hole" source="manual" occluded="0" cx="20.00" cy="15.00" rx="8.00" ry="4.00" z_order="0"></ellipse>
    <box label="tape" source="manual" occluded="0" xtl="10" ytl="10" xbr="14" ybr="20" rotation="90.00" z_order="0"></box>
  </image>
</annotations>
"""  # noqa: E501


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "annotations.xml"


def test_a_file_of_cvat(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(FILE, encoding="utf-8")
    one, other = read(path).images
    assert one.name == "train/good/000.png" and one.size_hw == other.size_hw == (30, 40)
    masks = {label: rasterise(one, (30, 40), {label}) for label in ("teeth", "tape", "slider")}
    assert masks["teeth"].sum() == 25 and masks["teeth"][1:6, 1:6].all()
    assert masks["tape"].sum() == 8 and masks["tape"][20:22, 10:14].all()
    assert masks["slider"][5:7, 20:24].tolist() == [[0, 1, 1, 1], [0, 0, 1, 1]] and masks["slider"].sum() == 5
    assert abs(rasterise(other, (30, 40), {"hole"}).sum() - np.pi * 32) < 4
    turned = rasterise(other, (30, 40), {"tape"})
    assert turned.sum() == 40 and turned[13:17, 7:17].all()
    assert "polyline, tag" in caplog.text


def test_other_encodings(path: Path) -> None:
    text = FILE.replace("000.png", "Größe.png")
    path.write_bytes(text.replace('encoding="utf-8"', 'encoding="iso-8859-1"').encode("latin-1"))
    assert read(path).images[0].name == "train/good/Größe.png"
    path.write_bytes(text.replace('encoding="utf-8"', 'encoding="utf-16"').encode("utf-16"))
    assert read(path).images[0].name == "train/good/Größe.png"


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    "doctype",
    [
        f'<!DOCTYPE annotations [<!ENTITY l0 "lol">{LAUGHS}]>',
        '<!DOCTYPE annotations [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE annotations SYSTEM "http://localhost/x.dtd">',
        "<!DOCTYPE annotations>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused(path: Path, doctype: str, encoding: str) -> None:
    body = '<annotations><image name="&l9;&x;" width="4" height="4"/></annotations>'
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{doctype}{body}'.encode(encoding))
    with pytest.raises(UserError, match="document type"):
        read(path)


IMAGE = '<annotations><image id="0" name="a.png" width="40" height="30">{}</image></annotations>'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<annotations>", "no sound XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotations/>', "no sound XML"),
        ("<annotations>&x;</annotations>", "no sound XML"),
        ("<annotations><track/></annotations>", "annotates a video"),
        ("<html/>", "no annotations of a known format"),
        ('<annotations><image name="a.png" width="40"/></annotations>', "has no 'height'"),
        ('<annotations><image name="a.png" width="4e99" height="3"/></annotations>', "whole number"),
        (IMAGE.format('<polygon label="a" points="1,2;3,4"/>'), "polygon of 2 points"),
        (IMAGE.format('<polygon label="a" points="1,2;3,4;5"/>'), "no pair"),
        (IMAGE.format('<polygon label="a" points="1,2;3,4;nan,5"/>'), "no finite number"),
        (IMAGE.format('<polygon label="a" points=""/>'), "no pair"),
        (IMAGE.format('<polygon points="1,2;3,4;5,6"/>'), "no 'label'"),
        (IMAGE.format('<box label="a" xtl="1" ytl="inf" xbr="2" ybr="2"/>'), "no finite number"),
        (
            IMAGE.format('<mask label="a" rle="1,2" left="0" top="0" width="2" height="2"/>'),
            "not add up to 2 x 2",
        ),
        (
            IMAGE.format('<mask label="a" rle="1,x" left="0" top="0" width="2" height="2"/>'),
            "no finite number",
        ),
        (
            IMAGE.format('<mask label="a" rle="4000000000" left="0" top="0" width="63246" height="63246"/>'),
            "63246x63246 pixels",
        ),
        (
            IMAGE.format('<mask label="a" rle="0,31" left="0" top="0" width="1" height="31"/>'),
            "image 'a.png', mask 1 is 31x1 pixels .*, larger than its image of 30x40",
        ),
        (
            IMAGE.format('<mask label="a" rle="0,41" left="-1" top="0" width="41" height="1"/>'),
            "larger than its image",
        ),
    ],
)
def test_traps_are_one_line(path: Path, text: str, fault: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=fault):
        read(path)


def test_a_mask_larger_than_its_image_is_never_laid_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roinspect.data.annotations.rle.decode", None)
    whole = f'rle="0,{1 << 28}" left="0" top="0" width="16384" height="16384"'
    path.write_text(IMAGE.format(f'<mask label="a" {whole}/>'))
    with pytest.raises(UserError, match="larger than its image"):
        read(path)


def test_depth_costs_nothing(path: Path) -> None:
    path.write_text(IMAGE.format("<a>" * 100_000 + "</a>" * 100_000))
    assert read(path).images[0].shapes == ()


def test_a_mask_beyond_the_border_is_cut_off(path: Path) -> None:
    path.write_text(IMAGE.format('<mask label="a" rle="0,16" left="-2" top="28" width="4" height="4"/>'))
    mask = rasterise(read(path).images[0], (30, 40))
    assert mask.sum() == 4 and mask[28:, :2].all()


def test_a_subset_of_a_project_counts_as_a_folder(path: Path) -> None:
    image = '<image id="{}" name="{}" subset="{}" width="40" height="30"></image>'
    names = [("0.png", "Train"), ("0.png", "Test"), ("a/1.png", "Train"), ("a/1.png", ""), ("2.png", "Train")]
    images = "".join(image.format(place, *name) for place, name in enumerate(names))
    path.write_text(f"<annotations><version>1.1</version>{images}</annotations>")
    found = [drawing.name for drawing in read(path).images]
    # A name that is there once means one image wherever that lies.
    assert found == ["Train/0.png", "Test/0.png", "Train/a/1.png", "a/1.png", "2.png"]
