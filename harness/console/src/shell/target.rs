//! What runs on the target: a few shell functions, typed once a session, in lines short enough for
//! any line editor. The other end of each is in `talk` and `put`.
//!
//! They need a POSIX shell and `dd`, `wc`, `mkdir`; of `base64`, `hexdump`, `od`, `xxd` any one; and
//! use `cksum` and `stty` where there are. Every answer stands between tildes with the number of
//! the question, which the typed line holds as an argument only: an echo is never an answer.
//!
//! What is typed carries its checksum (without `cksum` on the target, its length): neither the
//! functions nor a command do anything unless they arrived as they were sent.

use crate::transfer::{Cksum, ENCODERS, Encoder, quote};

/// Lines of output that come with the answer; more is asked for.
pub(crate) const WITH_ANSWER: u64 = 24;

/// Asks what the target has and makes a folder for the session.
pub(crate) fn survey(id: u32) -> Vec<String> {
    let tools = ENCODERS.iter().map(|encoder| encoder.tool).collect::<Vec<_>>().join(" ");
    vec![
        "unset HISTFILE;_ht=;_hd=;_hi=;_hb=".into(),
        r"_hn=$(printf '\n.');_hn=${_hn%.}".into(),
        format!("for t in {tools};do type $t >/dev/null 2>&1 && _ht=$_ht,$t;done"),
        "for d in /run /tmp /dev/shm /var/tmp;do [ -z \"$_hd\" ]&&mkdir -p $d/.hil-$$ 2>/dev/null&&\
         [ -w $d/.hil-$$ ]&&_hd=$d/.hil-$$;done"
            .into(),
        format!("echo \"~t$(({id})):$_ht:$_hd~\""),
    ]
}

/// Defines the functions, unless a byte of them is wrong; tells what arrived.
///
/// - `_hs FILE`: the file's stamp, `CRC LENGTH`.
/// - `_hk ID [N]`: how command ID ended: status and stamps of its output; `~i` if it was cut short,
///   `~n` if it was never begun. N says which asking is answered.
/// - `_hg ID FILE FIRST COUNT TAG`: numbered lines of an encoded file; `_hf` with an end mark.
/// - `_hx ID CRC LENGTH COMMAND`: runs a command given as a printf format; CRC and length are
///   those of `ID COMMAND`. `_hl ID CRC LENGTH` runs the one in `$_hd/u`, likewise.
/// - `_hw ID PROGRAM`: runs a program that reads its one line from the console; tells its status.
/// - `_hu ID KIND`: takes numbered lines from the terminal into `$_hd/u`, and tells each.
pub(crate) fn functions(id: u32, encoder: &Encoder) -> (Vec<String>, Cksum) {
    let text = definitions(encoder);
    let sum = Cksum::of(text.as_bytes());
    let quoted = text
        .split_inclusive('\n')
        .map(|line| format!("_hp=\"$_hp\"{}\"$_hn\"", quote(line.trim_end_matches('\n'))));
    let (crc, len) = (sum.value(), sum.len());
    let mut lines = vec!["_hp=".to_string()];
    lines.extend(quoted);
    lines.push(r#"_hq="$(printf %s "$_hp"|cksum 2>/dev/null||echo - ${#_hp})""#.into());
    lines.push(format!(r#"case "$_hq" in "{crc} {len}"|"- {len}")eval "$_hp";;esac"#));
    lines.push(format!("echo \"~f$(({id})):$_hq~\""));
    (lines, sum)
}

fn definitions(encoder: &Encoder) -> String {
    let Encoder { command, unit, .. } = encoder;
    let n = WITH_ANSWER;
    let lines = [
        r#"_hs(){ [ -s "$1" ]||{ echo 4294967295 0;return;}"#.into(),
        r#"cksum <"$1" 2>/dev/null||echo - $(wc -c <"$1");}"#.into(),
        r#"_hk(){ case "$1" in "$_hi")echo "~h$1:$_hr:$(_hs $_hd/o):$(_hs $_hd/e)~";;"#.into(),
        r#""$_hb")echo "~i$1~";;*)echo "~n$1${2:+.$2}~";return;;esac"#.into(),
        r#"echo "~k$1${2:+.$2}~";}"#.into(),
        format!(r#"_hg(){{ dd if="$2" bs={unit} skip=$3 count=$4 2>/dev/null|{command}|("#),
        r#"n=$3;while read -r l;do echo "~$1$5$n:$l.";n=$((n+1));done);}"#.into(),
        r#"_hf(){ _hg "$@";echo "~g$1:$3~";}"#.into(),
        r#"_hx(){ case "$(printf %s "$1 $4"|cksum 2>/dev/null||echo - $((${#1}+1+${#4})))""#.into(),
        r#"in "$2 $3"|"- $3")printf "$4" >$_hd/c;_hy $1;;*)_hk "$1";;esac;}"#.into(),
        r#"_hl(){ case "$( { echo $1;cat $_hd/u;}|cksum 2>/dev/null||echo -)""#.into(),
        r#"in "$2 $3"|-)mv $_hd/u $_hd/c;_hy $1;;*)_hk "$1";;esac;}"#.into(),
        r#"_hy(){ _hi=;_hb=$1;echo "~b$1~""#.into(),
        "sh $_hd/c >$_hd/o 2>$_hd/e </dev/null;_hr=$?;_hi=$1".into(),
        format!("[ -s $_hd/o ]&&_hg $1 $_hd/o 0 {n} o;[ -s $_hd/e ]&&_hg $1 $_hd/e 0 {n} e"),
        "_hk $1;}".into(),
        r#"_hw(){ _hi=;_hb=$1;"$2";_hr=$?;echo "~z$1:$_hr~";}"#.into(),
        r#"_hu(){ stty -echo 2>/dev/null;k=0;echo "~u$1:0~";while read -r n c l;do"#.into(),
        r#"[ "$n" = end ]&&break;[ "$n" = $((k+1)) ]&&[ "$c" = ${#l} ]&&{ k=$n"#.into(),
        r#"case $2 in b)echo "$l";;*)printf "$l";;esac>&3;};echo "~u$1:$k~""#.into(),
        r#"done 3>$_hd/u;stty echo 2>/dev/null;_hv $1;}"#.into(),
        r#"_hv(){ echo "~v$1:$(_hs $_hd/u)~";}"#.into(),
    ];
    lines.map(|line: String| line + "\n").concat()
}

/// Which of the tools named in the survey serves best.
pub(crate) fn encoder(tools: &str) -> Option<&'static Encoder> {
    let has = |tool: &str| tools.split(',').any(|name| name == tool);
    ENCODERS.iter().find(|encoder| has(encoder.tool))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_short_enough_for_a_line_editor() {
        for encoder in ENCODERS {
            for line in survey(99_999).into_iter().chain(functions(99_999, encoder).0) {
                assert!(line.len() < 200, "{} bytes: {line}", line.len());
            }
        }
    }

    #[test]
    fn the_best_tool_is_taken() {
        assert_eq!(encoder(",base64,od").unwrap().tool, "base64");
        assert_eq!(encoder(",od,xxd").unwrap().tool, "od");
        assert!(encoder(",base6,odd").is_none());
    }
}
