# Completion of resil(1) for bash. Commands and options are asked of resil itself.

_resil_commands() {
    resil help 2>/dev/null | sed -n 's/^  \([a-z]\{1,\}\)  .*/\1/p'
}

# Long options of a command; those with a value end in "=".
_resil_options() { # COMMAND
    resil "$1" --help 2>/dev/null | grep -o '^ .\{1,6\}--[a-z-]*=\{0,1\}' | grep -o -e '--.*'
}

# Rules and hosts that programs have called; without ports, because bash splits words at colons.
_resil_circuits() {
    resil status --json 2>/dev/null |
        sed -n 's/^ *"\(target\|rule\)": *"\([^":]*\)\(:[0-9]*\)\{0,1\}",\{0,1\}$/\2/p' | sort -u
}

_resil_faults() {
    resil fault list --json 2>/dev/null | sed -n 's/^ *"name": *"\(.*\)",\{0,1\}$/\1/p' | sort -u
}

_resil_events() {
    resil log --help 2>/dev/null | sed -n 's/^  \([a-z_]\{1,\}\): .*/\1/p'
}

_resil_units() {
    systemctl list-unit-files --type=service --no-legend --no-pager 2>/dev/null | sed 's/ .*//'
}

_resil_words() { # those of stdin that begin with what is there
    local word
    while read -r word; do
        [[ $word == "$current"* ]] && COMPREPLY+=("$word")
    done
}

_resil_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
}

# Where the program stands that is to be run: the first word that is no option and no value of one.
_resil_program() {
    for ((at = 2; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
        --) ((at++)) && return ;;
        -[rlsF] | --rules | --log | --seed | --fault)
            [[ ${COMP_WORDS[at + 1]} == = ]] && ((at++))
            ((at++))
            ;;
        -*) ;;
        *) return ;;
        esac
    done
}

_resil() {
    local command=${COMP_WORDS[1]} current=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]} at
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _resil_words < <(_resil_commands && echo --version && echo --help)
        return
    fi
    if [[ $command == run || $command == doctor ]] && _resil_program && ((at < COMP_CWORD)) && [[ $option != = ]]; then
        # The rest is the program's own affair.
        if declare -F _command_offset >/dev/null; then
            _command_offset "$at"
        else
            _resil_files
        fi
        return
    fi
    # "=" is a word of its own: --rules = FILE
    if [[ $current == = ]]; then
        current=
    elif [[ $option == = ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case $command$option in
    *--rules | *-r | *--output | *-o) _resil_files ;;
    *--log | *-l) _resil_files && _resil_words < <(printf '%s\n' stderr off) ;;
    *--event) _resil_words < <(_resil_events) ;;
    *--unit | enable-u | disable-u) _resil_words < <(_resil_units) ;;
    *--host) _resil_words < <(_resil_circuits) ;;
    *--program | *-p) _resil_programs ;;
    *) _resil_rest ;;
    esac
}

_resil_programs() {
    mapfile -t COMPREPLY < <(compgen -c -- "$current" | sort -u)
}

# An option, or what the command is about.
_resil_rest() {
    if [[ $current == -* ]]; then
        _resil_words < <(_resil_options "$command")
        if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then
            compopt -o nospace 2>/dev/null
        fi
        return
    fi
    case $command in
    help) _resil_words < <(_resil_commands) ;;
    run | doctor) _resil_programs ;;
    check) _resil_files ;;
    explain) _resil_words < <(_resil_circuits) ;;
    fault)
        if ((COMP_CWORD == 2)); then
            _resil_words < <(printf '%s\n' list on off auto)
        else
            _resil_words < <(_resil_faults)
        fi
        ;;
    breaker)
        if ((COMP_CWORD == 2)); then
            _resil_words < <(printf '%s\n' open close reset auto)
        else
            _resil_words < <(_resil_circuits)
        fi
        ;;
    esac
}

complete -F _resil resil
