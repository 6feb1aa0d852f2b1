//! The scripts; `@NAME@` is the program's name.

/// Works with and without the package bash-completion, and with bash 4 and later.
pub const BASH: &str = r#"# bash completion for @NAME@; load it with: source <(@NAME@ completion bash)
__@NAME@_complete() {
    local cur line word directive=0 width=0
    local -a words found texts
    if declare -F _comp_get_words >/dev/null; then
        local cword comp_args
        _comp_get_words -n =: cur words cword
    elif declare -F _get_comp_words_by_ref >/dev/null; then
        local cword
        _get_comp_words_by_ref -n =: cur words cword
    else
        local cword=$COMP_CWORD
        words=("${COMP_WORDS[@]}")
        cur=${COMP_WORDS[COMP_CWORD]}
    fi
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :[0-9]*) directive=${line#:} ;;
            ?*) found+=("$line") ;;
        esac
    done < <("${words[0]}" __complete "${words[@]:1:cword-1}" "$cur" 2>/dev/null)

    if ((directive & 2)); then compopt -o nospace 2>/dev/null; fi
    if ((directive & 4)); then compopt +o default 2>/dev/null; fi
    if ((directive & 16)); then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
    fi

    # what bash took for a word of its own is not repeated
    local prefix=
    case $COMP_WORDBREAKS in *=*) [[ $cur == *=* ]] && prefix=${cur%"${cur##*=}"} ;; esac
    case $COMP_WORDBREAKS in *:*) [[ $cur == *:* ]] && prefix=${cur%"${cur##*:}"} ;; esac
    [[ $cur == --*=* && ${found[0]} != --* ]] && prefix=${prefix#"${cur%%=*}="}
    for line in "${found[@]}"; do
        word=${line%%$'\t'*}
        word=${word#"$prefix"}
        COMPREPLY+=("$word")
        if [[ $line == *$'\t'* ]]; then texts+=("${line#*$'\t'}"); else texts+=(""); fi
        ((${#word} > width)) && width=${#word}
    done
    # several words are a list with what they mean; one is typed
    if ((${#COMPREPLY[@]} > 1)) && [[ $COMP_TYPE == 63 ]]; then
        local i room=$((${COLUMNS:-80} - width - 5))
        for i in "${!COMPREPLY[@]}"; do
            [[ -n ${texts[i]} ]] || continue
            printf -v line "%-${width}s  (%s)" "${COMPREPLY[i]}" "${texts[i]:0:room}"
            COMPREPLY[i]=$line
        done
    fi
}
complete -o default -F __@NAME@_complete @NAME@
"#;

pub const ZSH: &str = r#"#compdef @NAME@
# zsh completion for @NAME@; load it with: source <(@NAME@ completion zsh)
_@NAME@() {
    local line word text directive=0
    local -a found
    while IFS= read -r line; do
        if [[ $line == :<-> ]]; then
            directive=${line#:}
        elif [[ -n $line ]]; then
            word=${line%%$'\t'*}
            text=${line#*$'\t'}
            [[ $line == *$'\t'* ]] || text=
            found+=("${word//:/\\:}${text:+:$text}")
        fi
    done < <("${(Q)words[1]}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)

    # in --flag=value only the value is completed
    [[ $words[CURRENT] == --*=* && ${found[1]} != --* ]] && compset -P '*='
    if (( directive & 16 )); then
        _files -/
    elif (( $#found )); then
        if (( directive & 2 )); then
            _describe -V 'completions' found -S ''
        else
            _describe -V 'completions' found
        fi
    elif (( ! (directive & 4) )); then
        _files
    fi
}
if [[ $funcstack[1] == _@NAME@ ]]; then _@NAME@; else compdef _@NAME@ @NAME@; fi
"#;

pub const FISH: &str = r#"# fish completion for @NAME@; load it with: @NAME@ completion fish | source
function __@NAME@_ask
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -g __@NAME@_found
    set -l directive 0
    for line in ($before[1] __complete $before[2..-1] "$current" 2>/dev/null)
        if string match -qr '^:[0-9]+$' -- $line
            set directive (string sub -s 2 -- $line)
        else if test -n "$line"
            # in --flag=value the whole word is offered
            if string match -qr '^--[^=]+=' -- "$current"; and not string match -q -- '--*' $line
                set line (string replace -r '=.*' '=' -- "$current")$line
            end
            set -ga __@NAME@_found $line
        end
    end
    # fish completes files by itself unless this says otherwise
    test (count $__@NAME@_found) -gt 0; or test (math "bitand($directive, 4)") -ne 0
end
complete -c @NAME@ -e
complete -c @NAME@ -n __@NAME@_ask -f -a '$__@NAME@_found'
"#;
