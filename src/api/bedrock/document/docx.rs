//! The text of a docx: `word/document.xml` in a zip archive (ECMA-376, part 1).
//!
//! Both come from a client. No more is inflated than the limits allow, however small the archive
//! is; no entity is defined or expanded, and nothing else of the archive is read.

use std::io::{Cursor, Read};

use flate2::read::DeflateDecoder;
use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};
use thiserror::Error;
use zip::{CompressionMethod, ZipArchive};

use crate::limits;

const MEMBER: &str = "word/document.xml";

#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum DocxError {
    #[error("it is no zip archive")]
    NotAnArchive,
    #[error("it has no `{MEMBER}`")]
    NoText,
    #[error("`{MEMBER}` is neither stored nor deflated")]
    Compression,
    #[error("`{MEMBER}` has more than {limit} bytes")]
    TooLong { limit: usize },
    #[error("`{MEMBER}` is compressed more than {limit} times")]
    TooDense { limit: u64 },
    #[error("`{MEMBER}` is damaged")]
    Damaged,
    #[error("`{MEMBER}` is not well-formed XML")]
    Xml,
    #[error("`{MEMBER}` defines or uses entities of its own")]
    Entities,
}

/// Paragraphs and rows of tables are lines, cells are apart by tabs.
pub(super) fn text(docx: &[u8]) -> Result<String, DocxError> {
    let xml = member(docx)?;
    let mut reader = Reader::from_str(&xml);
    let mut text = Text::default();
    loop {
        match reader.read_event().map_err(|_| DocxError::Xml)? {
            Event::Start(tag) => text.open(tag.local_name().as_ref()),
            Event::End(tag) => text.close(tag.local_name().as_ref()),
            Event::Empty(tag) => {
                text.open(tag.local_name().as_ref());
                text.close(tag.local_name().as_ref());
            }
            Event::Text(piece) => text.push(&piece.xml10_content()),
            Event::CData(piece) => text.push(&piece.xml10_content()),
            Event::GeneralRef(reference) => text.push_char(resolve(&reference)?),
            Event::DocType(_) => return Err(DocxError::Entities),
            Event::Eof => return Ok(text.written),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

/// The five entities of XML itself, and characters by their number.
fn resolve(reference: &BytesRef<'_>) -> Result<char, DocxError> {
    match reference.resolve_char_ref() {
        Ok(Some(character)) => return Ok(character),
        Ok(None) => {}
        Err(_) => return Err(DocxError::Xml),
    }
    let known = resolve_xml_entity(&reference.xml10_content());
    known.and_then(|text| text.chars().next()).ok_or(DocxError::Entities)
}

fn member(docx: &[u8]) -> Result<String, DocxError> {
    let mut archive = ZipArchive::new(Cursor::new(docx)).map_err(|_| DocxError::NotAnArchive)?;
    let index = archive.index_for_name(MEMBER).ok_or(DocxError::NoText)?;
    let member = archive.by_index_raw(index).map_err(|_| DocxError::Damaged)?;
    let method = member.compression();
    // Inflated here rather than by the `zip` crate, whose feature for it would rebuild that crate
    // for all who share it. What the archive says of sizes is not believed.
    let mut packed = Vec::new();
    let mut content: Box<dyn Read> = if method == CompressionMethod::STORE {
        Box::new(member)
    } else if method == CompressionMethod::DEFLATE {
        member.take(docx.len() as u64).read_to_end(&mut packed).map_err(|_| DocxError::Damaged)?;
        Box::new(DeflateDecoder::new(&packed[..]))
    } else {
        return Err(DocxError::Compression);
    };
    let limit = limits::DOCX_TEXT_BYTES_MAX;
    let mut xml = Vec::new();
    let end = limit as u64 + 1;
    content.by_ref().take(end).read_to_end(&mut xml).map_err(|_| DocxError::Damaged)?;
    drop(content);
    if xml.len() > limit {
        return Err(DocxError::TooLong { limit });
    }
    let density = limits::DOCX_DENSITY_MAX;
    let is_small = xml.len() <= limits::DOCX_DENSE_BYTES_MAX;
    if !packed.is_empty() && !is_small && xml.len() as u64 / packed.len() as u64 > density {
        return Err(DocxError::TooDense { limit: density });
    }
    String::from_utf8(xml).map_err(|_| DocxError::Xml)
}

#[derive(Default)]
struct Text {
    written: String,
    /// Within `t`, the only element whose characters are the document's text.
    in_text: bool,
    /// Levels within `mc:Fallback`, which repeats for old programs what stands beside it.
    fallback_depth: usize,
    in_cell: usize,
}

impl Text {
    fn open(&mut self, name: &str) {
        if self.fallback_depth > 0 || name == "Fallback" {
            self.fallback_depth += 1;
            return;
        }
        match name {
            "t" => self.in_text = true,
            "tab" => self.written.push('\t'),
            "br" | "cr" => self.written.push('\n'),
            "tc" => self.in_cell += 1,
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if self.fallback_depth > 0 {
            self.fallback_depth -= 1;
            return;
        }
        match name {
            "t" => self.in_text = false,
            "p" if self.in_cell > 0 => self.written.push(' '),
            "p" => self.written.push('\n'),
            "tc" => {
                self.in_cell = self.in_cell.saturating_sub(1);
                self.trim_blanks();
                self.written.push('\t');
            }
            "tr" => {
                self.trim_blanks();
                self.written.push('\n');
            }
            _ => {}
        }
    }

    fn trim_blanks(&mut self) {
        let len = self.written.trim_end_matches([' ', '\t']).len();
        self.written.truncate(len);
    }

    fn push(&mut self, text: &str) {
        if self.in_text && self.fallback_depth == 0 {
            self.written.push_str(text);
        }
    }

    fn push_char(&mut self, character: char) {
        self.push(character.encode_utf8(&mut [0; 4]));
    }
}

#[cfg(test)]
pub(in crate::api) mod tests {
    use std::io::Write;

    use flate2::{Compression, Crc, write::DeflateEncoder};

    use super::*;

    /// An archive of one deflated member (APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16) that
    /// states `size` as its length.
    fn zip_of(name: &str, content: &[u8], size: u32) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        let packed = encoder.finish().unwrap();
        let mut crc = Crc::new();
        crc.update(content);
        let mut common = Vec::new();
        for half in [20u16, 0, 8, 0, 0] {
            common.extend(half.to_le_bytes());
        }
        for word in [crc.sum(), packed.len() as u32, size] {
            common.extend(word.to_le_bytes());
        }
        common.extend((name.len() as u16).to_le_bytes());
        common.extend(0u16.to_le_bytes());
        let mut zip = [b"PK\x03\x04".as_slice(), &common, name.as_bytes(), &packed].concat();
        let directory_at = zip.len() as u32;
        zip.extend([b"PK\x01\x02\x14\0".as_slice(), &common, &[0; 14], name.as_bytes()].concat());
        let directory_len = zip.len() as u32 - directory_at;
        zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        zip.extend(directory_len.to_le_bytes());
        zip.extend(directory_at.to_le_bytes());
        zip.extend([0, 0]);
        zip
    }

    pub(in crate::api) fn docx_of(body: &str) -> Vec<u8> {
        let xml = format!("<w:document xmlns:w=\"w\"><w:body>{body}</w:body></w:document>");
        zip_of(MEMBER, xml.as_bytes(), xml.len() as u32)
    }

    #[test]
    fn paragraphs_are_lines_and_rows_have_tabs() {
        let cell = |text: &str| format!("<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>");
        let body = format!(
            "<w:p><w:r><w:t xml:space=\"preserve\">A &lt;b&gt; &#20013;</w:t><w:tab/><w:t>c</w:t>\
             </w:r></w:p> <w:p><w:r><w:delText>gone</w:delText><w:instrText>PAGE</w:instrText>\
             <w:t><![CDATA[&x]]></w:t><w:br/><w:t>y</w:t></w:r></w:p><w:tbl><w:tr>{}{}</w:tr>\
             </w:tbl><mc:AlternateContent><mc:Choice><w:t>new</w:t></mc:Choice><mc:Fallback>\
             <w:t>old</w:t></mc:Fallback></mc:AlternateContent>",
            cell("1"),
            cell("2"),
        );
        assert_eq!(text(&docx_of(&body)).unwrap(), "A <b> 中\tc\n&x\ny\n1\t2\nnew");
    }

    #[test]
    fn what_is_no_docx_says_so() {
        assert_eq!(text(b"text"), Err(DocxError::NotAnArchive));
        assert_eq!(text(&zip_of("word/other.xml", b"<a/>", 4)), Err(DocxError::NoText));
        assert_eq!(text(&docx_of("<w:p></w:q>")), Err(DocxError::Xml));
        assert_eq!(text(&docx_of("<w:t>&x;</w:t>")), Err(DocxError::Entities));
        let entities = "<!DOCTYPE a [<!ENTITY x \"y\">]><a><t>&x;</t></a>";
        let zip = zip_of(MEMBER, entities.as_bytes(), entities.len() as u32);
        assert_eq!(text(&zip), Err(DocxError::Entities));
        let docx = docx_of("<w:t>hello</w:t>");
        for end in 0..docx.len() {
            assert!(text(&docx[..end]).is_err(), "cut at {end}");
        }
    }

    /// Whatever the archive says of its sizes.
    #[test]
    fn bombs_are_not_unpacked() {
        let limit = limits::DOCX_TEXT_BYTES_MAX;
        let bomb = vec![b' '; limit + 1];
        assert_eq!(text(&zip_of(MEMBER, &bomb, 10)), Err(DocxError::TooLong { limit }));
        let dense = &bomb[..limit];
        let expected = Err(DocxError::TooDense { limit: limits::DOCX_DENSITY_MAX });
        assert_eq!(text(&zip_of(MEMBER, dense, limit as u32)), expected);
        let small = format!("<t>{}</t>", "a".repeat(limits::DOCX_DENSE_BYTES_MAX - 7));
        assert!(text(&zip_of(MEMBER, small.as_bytes(), small.len() as u32)).is_ok());
    }

    #[test]
    fn bytes_that_are_changed_do_no_harm() {
        let docx = docx_of("<w:p><w:t>hello</w:t></w:p>");
        for index in 0..docx.len() {
            for byte in [0, 0xFF, docx[index] ^ 1] {
                let mut changed = docx.clone();
                changed[index] = byte;
                let _ = text(&changed);
            }
        }
    }
}
