//! What runs on the target: a few shell functions, typed once a session, in lines short enough for
//! any line editor. The other end of each is in `talk` and `put`.
//!
//! They need a POSIX shell and `dd`, `wc`, `mkdir`; of `base64`, `hexdump`, `od`, `xxd` any one; and
//! use `cksum` and `stty` where there are. Every answer stands between tildes with the number of
//! the question, which the typed line holds as an argument only: an echo is never an answer.

use crate::transfer::{ENCODERS, Encoder};

/// Lines of output that come with the answer; more is asked for.
pub(crate) const WITH_ANSWER: u64 = 24;

/// Asks what the target has and makes a folder for the session.
pub(crate) fn survey(id: u32) -> Vec<String> {
    let tools = ENCODERS.iter().map(|encoder| encoder.tool).collect::<Vec<_>>().join(" ");
    vec![
        "unset HISTFILE;_ht=;_hd=;_hi=".into(),
        format!("for t in {tools};do type $t >/dev/null 2>&1 && _ht=$_ht,$t;done"),
        "for d in /run /tmp /dev/shm /var/tmp;do [ -z \"$_hd\" ]&&mkdir -p $d/.hil-$$ 2>/dev/null&&\
         [ -w $d/.hil-$$ ]&&_hd=$d/.hil-$$;done"
            .into(),
        format!("echo \"~t$(({id})):$_ht:$_hd~\""),
    ]
}

/// Defines the functions.
///
/// - `_hs FILE`: the file's stamp, `CRC LENGTH`.
/// - `_hk ID`: how command ID ended: status and stamps of its output.
/// - `_hg ID FILE FIRST COUNT TAG`: numbered lines of an encoded file; `_hf` with an end mark.
/// - `_hx ID LENGTH COMMAND`: runs a command given as a printf format of that length.
/// - `_hu ID KIND`: takes numbered lines from the terminal into `$_hd/u`, and tells each.
pub(crate) fn functions(id: u32, encoder: &Encoder) -> Vec<String> {
    let Encoder { command, unit, .. } = encoder;
    let n = WITH_ANSWER;
    vec![
        r#"_hs(){ [ -s "$1" ]||{ echo 4294967295 0;return;}"#.into(),
        r#"cksum <"$1" 2>/dev/null||echo - $(wc -c <"$1");}"#.into(),
        r#"_hk(){ [ "$_hi" = $1 ]&&echo "~h$1:$_hr:$(_hs $_hd/o):$(_hs $_hd/e)~"||echo "~n$1~""#
            .into(),
        r#"echo "~k$1~";}"#.into(),
        format!(r#"_hg(){{ dd if="$2" bs={unit} skip=$3 count=$4 2>/dev/null|{command}|("#),
        r#"n=$3;while read -r l;do echo "~$1$5$n:$l.";n=$((n+1));done);}"#.into(),
        r#"_hf(){ _hg "$@";echo "~g$1:$3~";}"#.into(),
        r#"_hx(){ [ ${#3} = $2 ]||{ _hi=;_hk $1;return;}"#.into(),
        r#"[ $2 = 0 ]||printf "$3" >$_hd/c;_hi="#.into(),
        "sh $_hd/c >$_hd/o 2>$_hd/e </dev/null;_hr=$?;_hi=$1".into(),
        format!("[ -s $_hd/o ]&&_hg $1 $_hd/o 0 {n} o;[ -s $_hd/e ]&&_hg $1 $_hd/e 0 {n} e"),
        "_hk $1;}".into(),
        r#"_hu(){ stty -echo 2>/dev/null;k=0;echo "~u$1:0~";while read -r n c l;do"#.into(),
        r#"[ "$n" = end ]&&break;[ "$n" = $((k+1)) ]&&[ "$c" = ${#l} ]&&{ k=$n"#.into(),
        r#"case $2 in b)echo "$l";;*)printf "$l";;esac>&3;};echo "~u$1:$k~""#.into(),
        r#"done 3>$_hd/u;stty echo 2>/dev/null;_hv $1;}"#.into(),
        r#"_hv(){ echo "~v$1:$(_hs $_hd/u)~";}"#.into(),
        format!("echo \"~f$(({id}))~\""),
    ]
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
            for line in survey(99_999).into_iter().chain(functions(99_999, encoder)) {
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
