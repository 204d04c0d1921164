{#- Rights of read-only roles, which a rebuilt table would lose. Which columns they may see is told by
    monitoring/reader.py; the function does nothing where no role was made. -#}
{% macro grant_reading() -%}
    {{ return(adapter.dispatch('grant_reading', 'warehouse')()) }}
{%- endmacro %}

{% macro default__grant_reading() -%}
    do $grant$ begin
        if to_regprocedure('ops.grant_reading(regclass)') is not null then
            perform ops.grant_reading('{{ this.include(database=false) }}'::regclass);
        end if;
    end $grant$
{%- endmacro %}
